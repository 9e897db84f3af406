"""The chain rule for a network, in symbols: SymPy differentiates C by itself, and BP2 is held against it."""

from __future__ import annotations

from dataclasses import dataclass

from deltarule.document import Document, Formula, Readable, Section, shortened
from deltarule.formula.chain import Chain, Step, bp1, bp2
from deltarule.formula.evaluate import DECIMALS, evaluated
from deltarule.formula.symbols import sympy
from deltarule.network import Network
from deltarule.records import Record


@dataclass(frozen=True, eq=False, repr=False)
class Derivation(Readable, Record):
    """The chain rule for one layer of one network; print it, or set it as Markdown or LaTeX.

    Attributes
    ----------
    network : str
    layer : int
    steps : of Step
    exact : bool
        Whether SymPy reduced its own derivative minus BP2's to 0 in symbols, for sigma of any kind.
    points : int
        At so many random rational points, with the network's own sigma and cost, both were computed to 30
        digits; 0 where an activation has no formula.
    largest : float
        The largest relative difference there.
    """

    schema = "deltarule.derivation"

    network: str
    layer: int
    steps: tuple[Step, ...]
    exact: bool
    points: int
    largest: float

    @property
    def holds(self) -> bool:
        """Whether the equation was proved, in symbols or at every point."""
        return (self.exact or self.points > 0) and self.largest < 10.0 ** (5 - DECIMALS)

    def document(self) -> Document:
        """The derivation as sections."""
        sections = [
            Section(
                f"{i}. {step.title}",
                (step.words, Formula(step.lines, step.latex)) if step.lines else (step.words,),
            )
            for i, step in enumerate(self.steps, 1)
        ]
        title = f"The chain rule for layer {self.layer}: {shortened(self.network)}"
        proof = Section(f"{len(sections) + 1}. The proof", (self._proof(),))
        return Document(title, (*sections, proof))

    def _proof(self) -> str:
        said = "SymPy's derivative of $C$, of all of it at once, minus what the chain rule gave in step 4: "
        said += (
            "it reduces to 0 in symbols, for any $σ$."
            if self.exact
            else "SymPy does not reduce it in symbols in bounded time."
        )
        if self.points:
            said += (
                f" With this network's own formulas, at {self.points} random rational points and {DECIMALS} digits, "
                f"the two differ by {self.largest:.0e} of their size at most."
            )
        return said if self.holds else f"{said} This is NOT a proof."


def derive(net: Network, layer: int | None = None) -> Derivation:
    """Derive BP2 (at the output BP1) for this network in symbols, and prove it against SymPy's derivative.

    dC/dz_k = sum_j dC/dz_j dz_j/da_k da_k/dz_k = (sum_j w_jk delta_j) sigma'(z_k).

    The network's depth, activations and cost are its own; its layers are drawn with at most two neurons.

    Parameters
    ----------
    net : Network
    layer : int, optional
        l, from 1 to L; the last hidden layer if not given (the output where there is none).

    Returns
    -------
    Derivation
        Prints itself; `to_markdown()`, `to_latex()`, `.holds`.

    Raises
    ------
    NoSuchLayer
        For a layer outside 1..L.
    MissingExtra
        Without SymPy: pip install "deltarule[symbolic]".

    Examples
    --------
    >>> import deltarule as dr
    >>> dr.derive(dr.Network([4, 3, 2], seed=0)).exact
    True
    """
    l = max(1, net.L - 1) if layer is None else layer
    net.activations[l]  # refuses a layer that is not there
    sp = sympy()
    chain = Chain(net, int(l))
    steps, direct, ours = bp1(chain) if l == net.L else bp2(chain)
    pairs = list(zip(direct, ours, strict=True))
    exact = all(sp.expand(one - other) == 0 for one, other in pairs)
    if (
        not exact and l == net.L and net.cost.name != "huber"
    ):  # short, but for a cost in pieces simplify takes minutes
        exact = all(sp.simplify(one - other) == 0 for one, other in pairs)
    return Derivation(repr(net), int(l), tuple(steps), exact, *evaluated(chain))
