r"""The spellings of everything that a formula is written with, one table for each kind.

`W`, `w`, `\mathbf{W}`, `\Theta`, `self.weights` are all W; `f'`, `\dot\sigma`, `sigmoid_prime` are all sigma'.
"""

from __future__ import annotations

import re
import unicodedata

SAME = {
    "∂": r"\partial ", "∇": r"\nabla ", "⊙": r"\odot ", "∘": r"\circ ", "∗": "*", "•": r"\odot ", "⊗": r"\otimes ",
    "·": r"\cdot ", "⋅": r"\cdot ", "×": r"\times ", "′": "'", "’": "'", "‘": "'", "ᵀ": "^T", "⊤": r"\top ",
    "−": "-", "–": "-", "∑": r"\sum ", "Σ": r"\Sigma ", "≡": "=", "≔": "=", "⇒": r"\implies ", "←": "<-",
    "≈": r"\approx ", "δ": r"\delta ", "Δ": r"\Delta ",
    "ϕ": r"\phi ", "φ": r"\phi ", "Θ": r"\Theta ", "θ": r"\theta ",
    "η": r"\eta ", "α": r"\alpha ", "λ": r"\lambda ", "σ": r"\sigma ", "ς": r"\sigma ", "ŷ": r"\hat{y}",
    "\u200b": "", "\u2061": "", "\u2062": "", "\ufeff": "", "\t": " ", "\r": " ",
}  # fmt: skip
RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ˡᴸʲᵏⁱ", "0123456789+-()lLjki", strict=True))
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₗₖⱼᵢ", "0123456789+-()lkji", strict=True))


def flat(text: str) -> tuple[str, list[int]]:
    """The text in plain letters, and for each of its characters the place in the text that it came from.

    >>> flat("δˡ⁺¹")[0]
    '\\\\delta ^{l+1}'
    """
    out: list[str] = []
    at: list[int] = []
    script = ""
    for i, letter in enumerate([*text, ""]):
        kind = "^" if letter in RAISED else "_" if letter in LOWERED else ""
        plain = ""
        if kind != script:  # a run of raised or lowered letters is one script
            plain = ("}" if script else "") + (kind + "{" if kind else "")
            script = kind
        if kind:
            plain += (RAISED | LOWERED)[letter]
        else:
            known = SAME.get(letter)
            plain += known if known is not None else "".join(SAME.get(one, one) for one in _compatible(letter))
        out += plain
        at += [i] * len(plain)
    return "".join(out), [*at, len(text)]


def _compatible(letter: str) -> str:
    """A letter of another typeface as the plain one."""
    return unicodedata.normalize("NFKC", letter) if ord(letter or " ") > 127 else letter


END = r"(?![a-zA-Z])"
NESTED = r"\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}"
WRAPPER = re.compile(
    r"\\(?:math(?:bf|rm|sf|it|bb|tt)|boldsymbol|bm|pmb|vec|text(?:bf|it|rm|sf)?|operatorname\*?|underline|tilde)"
    rf"{END}\s*\{{?"
)
"""What dresses a name and says nothing."""

REMARK = re.compile(
    r"(?:\\q?quad|\\[,;: ]|[,\s])*(?:\\(?:text|mathrm|mbox)\s*\{\s*)?\b(?:for|where|with|if|when|unless|as)\b[\s\S]*"
    r"|(?:\\q?quad|\\[,;: ]|[,\s])+(?:\\(?:text|mathrm)\s*\{\s*)?\((?:BP\s*\d|\d+(?:\.\d+)?[a-z]?)\)\s*\}?\s*$"
    r"|^\s*\(?BP\s*\d\)?\s*:?"
    r"|\\(?:label|tag|ref|color)\*?\s*\{[^{}]*\}|%.*"
)
"""What is said beside a formula: `\\tag{BP2}`, `(BP2)`, `for l = L-1, ..., 1`."""

PRIMES = r"(?:\s*'|\s*\^\s*\\prime(?![a-z])|\s*\^\s*\{\s*(?:'|\\prime)\s*\})"
SIGMA = (
    rf"(?:\\(?:sigma|phi|varphi|psi|rho){END}|(?:sigma|phi|activation|act)(?![a-zA-Z_])|[fg](?![a-zA-Z_])"
    rf"|h(?=\s*(?:'|\(|\^\s*\{{?\s*\\prime)))"
)
NAMED = r"(?:np\.|math\.|torch\.|\\)*(sigmoid|logistic|tanh|relu|ReLU|softplus|softmax)"
DERIVED = r"(?:_prime|_derivative|_deriv|_grad|_slope|prime|_backward|_der)"
OPTIONS = r"\s*(?:,?\s*(?:axis\s*=\s*-?\d|keepdims\s*=\s*True))*\s*"
_WORDS = [
    ("SKIP", rf"\s+|\\(?:left|right|[bB]igg?[lrm]?){END}\s*\.?|\\(?:limits|nonumber|rm|bf|it|cal|mathrm){END}", ""),
    ("SKIP", rf"\\(?:q?quad|(?:display|text)style|hfill|hspace\*?\{{\w*\}}){END}|\\[,;:! ]|[~&$]|\\[()\[\]]", ""),
    ("SKIP", r"\\(?:begin|end)\s*\{[a-zA-Z]*\*?\}(?:\{[lcr]*\})?|\{\s*\}|self\.", ""),
    ("STOP", r"\\(?:approx|propto|leftarrow|gets|sim|le|leq|ge|geq|neq|ne)(?![a-zA-Z])|<-|[+-]=|[<>]", ""),
    ("EQUALS", rf"\\(?:overset|stackrel)\s*{NESTED}\s*(?:\{{\s*=\s*\}}|=)", "="),
    ("EQUALS", rf":=|\\(?:equiv|coloneqq|triangleq|doteq){END}|==?", "="),
    ("NUMBER", r"\\[dt]?frac\s*(?P<half>\d)\s*(?P<of>[1-9])", ""),
    ("NUMBER", r"\d{1,15}(?:\.\d{1,15}|\.(?!\w))?(?:e[+-]?\d{1,2})?(?![\d.])", ""),
    ("FRACTION", rf"\\[dtc]?frac{END}", ""),
    ("PARTIAL", rf"\\partial{END}", ""),
    ("DIAGONAL", rf"\\Sigma{PRIMES}", ""),
    ("SUM", rf"(?:\\(?:sum|Sigma){END}|sum(?=_))\s*(?:\\(?:no)?limits\s*)?_\s*"
            rf"(?:\{{\s*(?P<letters>[a-z](?:\s*,?\s*[a-z](?![a-z]))*)(?:\s*(?:=|\\in)[^{{}}]*(?:{NESTED}[^{{}}]*)*)?\}}"
            rf"|(?P<letter>[a-z]))(?:\s*\^\s*(?:{NESTED}|\w))?", ""),
    ("GRADIENT", rf"(?:\\nabla{END}|nabla|grad)\s*_\s*(?:\{{(?P<var>[^{{}}]*(?:{NESTED}[^{{}}]*)*)\}}"
                 rf"|(?P<one>[a-zA-Z](?:\^L)?))\s*_?(?=\s*\\?(?:[CJEL]|math|ell|text))", ""),
    ("COST_SLOPE", r"cost_derivative\s*\(\s*(?:activations|a)\s*(?:\[(?:-1|L)\]|L)?\s*,\s*y\s*\)", ""),
    ("SLOPE", NAMED + rf"(?:{DERIVED}\b|{PRIMES})|d_?(sigmoid|tanh|relu)\b", "named'"),
    ("SLOPE", rf"{SIGMA}{PRIMES}|\\dot\s*\{{?\s*{SIGMA}\s*\}}?", "sigma'"),
    ("SLOPE", rf"(?:sigma|activation|act|phi|[fgs]){DERIVED}\b|(?:d_?sigma|fprime|sp|slope)\b", "sigma'"),
    ("SIGMA", rf"{NAMED}(?![a-zA-Z_])", "named"),
    ("SIGMA", SIGMA, "sigma"),
    ("DIAG", r"\\?(?:np\.)?(?:diagflat|diag|Diag)(?![a-zA-Z_])", ""),
    ("INVERSE", r"(?:np\.|linalg\.|la\.)*(?P<inverse>pinv|inv)\b", ""),
    ("TRANSPOSE", r"(?:np\.)?transpose(?=\s*\()", ""),
    ("WHOLE", r"np\.(?:sum|mean)(?=\s*\()", ""),
    ("MULTIPLY", r"(?:np|torch)\.(?P<product>dot|matmul|multiply|outer|power)(?=\s*\()", ""),
    ("OPTION", r",\s*(?:axis\s*=\s*-?\d|keepdims\s*=\s*True)", ""),
    ("DOT", r"\.(?:dot|matmul|mm)(?=\s*\()", ""),
    ("PYT", r"\.(?:T\b|(?:transpose|t)\s*\(\s*\))", ""),
    ("OVER_SAMPLES", rf"\.(?:sum|mean)\s*\({OPTIONS}(?:\d\s*)?{OPTIONS}\)", ""),
    ("POWER", r"\*\*\s*(?P<power>[1-9])(?!\d)", ""),
    ("ODOT", rf"\\(?:odot|circ|ast|bullet|hadamard|star|circledast){END}|\.\*", ""),
    ("TENSOR", rf"\\otimes{END}", ""),
    ("CDOT", rf"\\(?:cdot|times){END}|@", ""),
    ("STAR", r"\*", ""),
    ("OVER", r"/", ""),
    ("PLUS", r"\+", ""),
    ("MINUS", r"-", ""),
    ("PRIME", r"'", ""),
    ("COMMA", r",", ""),
    ("OPEN", r"[({\[]|\\\{|\\lbrace(?![a-z])", ""),
    ("CLOSE", r"[)}\]]|\\\}|\\rbrace(?![a-z])", ""),
]  # fmt: skip
WORDS = [(kind, re.compile(pattern), value) for kind, pattern, value in _WORDS]
"""Every word that is not a name: the terminal of the grammar, how it is written, what it stands for."""

_COST = rf"(?:\\ell{END}|[CJEL]{END}|(?:[Ll]oss|[Cc]ost){END})"
COST = re.compile(
    rf"(?:\\(?:math(?:cal|scr|bb|rm)|text|operatorname)\s*\{{\s*{_COST}\s*\}}|(?:\\math(?:cal|scr)\s*)?{_COST})"
    r"(?:\s*[_^]\s*(?:\{[^{}]*\}|\(?[a-zA-Z0-9]\)?))*(?:\s*\([a-zA-Z\\,; ]{1,40}\))?"
)
LONE_D = re.compile(r"\\?d(?=\s*[a-zA-Z\\])|\\(?:mathrm|text)\s*\{\s*d\s*\}|\\mathrm\s+d")
"""The d of a derivative where one is under way."""

FAR_D = re.compile(
    r"(?:d|\\(?:mathrm|text)\s*\{\s*d\s*\})(?=(?:\\?[a-zA-Z]+)(?:\s*[_^]\s*(?:\{[^{}]*\}|\w)|\[[^\[\]]*\])*\s*/\s*(?:d[a-zA-Z\\]|\\partial|\\mathrm\s*\{\s*d))"
)
"""The d of a derivative that begins here: its stroke and its other d follow."""

_NAMES = [
    ("delta", rf"\\delta{END}|(?:deltas?|errors?){END}|d(?=\d|\[)"),
    ("W", r"(?:[Ww]eights?|ws|[Ww]|theta|Theta)(?![a-zA-Z])|\\[tT]heta(?![a-zA-Z])"),
    ("b", r"(?:[Bb]iase?s?|[bB])(?![a-zA-Z])"),
    ("z", r"(?:zs|z|Z|net)(?![a-zA-Z])"),
    ("a", r"(?:activations|a|A|h|o)(?![a-zA-Z])"),
    ("aL", r"\\(?:wide)?hat\s*\{\s*(?:\\(?:mathbf|boldsymbol|bm)\s*)?\{?\s*y\s*\}?\s*\}|\\hat\s*y|y_?(?:hat|pred)"),
    ("x", r"[xX](?![a-zA-Z])"),
    ("y", r"(?:y_true|y|Y)(?![a-zA-Z])"),
    ("t", r"(?:targets?|t)(?![a-zA-Z])"),
    ("samples", r"(?:m|N|n|batch_size)(?![a-zA-Z])"),
]
NAMES = [(name, re.compile(pattern)) for name, pattern in _NAMES]

OF_C = re.compile(
    r"(?:(?:delta_)?nabla_|grads?_|d(?:C|L|J|E|[Ll]oss|[Cc]ost)_?d_?|d_?)(?P<of>[WwbBzZaA])(?:eights?|iases|s)?(?![a-zA-Z])"
)
"""A derivative of C as code names it: dW, dC_dW, dLdz, grad_W, nabla_w."""

PYTHON = re.compile(
    r"(?![\s\S]*(?:\\[a-zA-Z]|\^))[\s\S]*?"
    r"(?:@|\.T\b|\.dot\(|np\.|\*\*|[A-Za-z]\[|self\.|\.transpose\(|(?<![\\\w])d?[WwzZabAd]\d|delta\d|\w_prime\()"
)
"""A text in Python notation: there * and @ bind alike, from left to right, and * is NumPy's."""

EXPLAINED = {
    **dict.fromkeys(("C", "J", "E", "L"), r"the cost stands in a derivative such as \partial C/\partial z^l"),
    r"\eta": "it is a learning rate: steps of training are not judged, only equations",
    **dict.fromkeys(("eta", "lr", "alpha"), "steps of training are not judged, only equations"),
    r"\alpha": "it is a learning rate: steps of training are not judged, only equations",
    r"\lambda": "regularisation is not part of the formulas that are judged",
    r"\Delta": "an accumulated sum over samples, or a step, is not judged; write delta^l for the error of layer l",
    r"\ldots": "write the formula for one layer l, without dots",
    r"\dots": "write the formula for one layer l, without dots",
    r"\cdots": "write the formula for one layer l, without dots",
    r"\prod": "write the formula for one layer l, without a product over layers",
    r"\log": "the cost's own formula is not judged, only its derivatives",
    r"\ln": "the cost's own formula is not judged, only its derivatives",
    **dict.fromkeys((r"\|", "|", r"\lVert", r"\Vert"), "the cost's own formula is not judged, only its derivatives"),
    r"\exp": r"write \sigma for the activation",
    "u": "write z^l for the weighted input of layer l",
    "s": "write z^l for the weighted input of layer l",
}
"""Words that are often met and not read, and what to do."""
