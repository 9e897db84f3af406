"""Break the code on purpose: each break must turn a named test red, or that test proves nothing.

Each mutant is one line of the source replaced in a copy; the named test is run on the copy and must fail.
Run it with `make mutants`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Mutant:
    """One break: in `file`, `right` becomes `wrong`; `test` must see it."""

    what: str
    file: str
    right: str
    wrong: str
    test: str


MUTANTS = [
    Mutant("the transpose left out, in the reference", "reference.py",
           "moved = delta_next @ W_next ", "moved = delta_next @ W_next.T ",
           "test_reference.py::test_every_value_of_a_hand_worked_network"),
    Mutant("sigma' left out, in the reference", "reference.py",
           "return moved, moved * slope", "return moved, moved",
           "test_reference.py::test_every_value_of_a_hand_worked_network"),
    Mutant("1/N twice, in the reference", "reference.py",
           "a_before / len(delta)", "a_before / len(delta) ** 2",
           "test_reference.py::test_autograd_finds_the_same_deltas_and_gradients"),
    Mutant("sigma' left out of BP2", "kernels/lengths.py",
           "new = old * slope[i]", "new = old",
           "test_check.py::test_a_right_backward_pass_is_proved"),
    Mutant("sigma' taken at the layer above", "kernels/passes.py",
           "slope = part(batch.slope, batch, l, layers, low, high)",
           "slope = part(batch.slope, batch, l + 1, layers, low, high)",
           "test_kernels.py::test_a_compiled_pass_is_the_reference"),
    Mutant("the error moved through the wrong layer's weights", "kernels/feedback.py",
           "through_weights(batch.delta, delta_at, theta, layers.W_at[l + 1],",
           "through_weights(batch.delta, delta_at, theta, layers.W_at[l],",
           "test_kernels.py::test_a_compiled_pass_is_the_reference"),
    Mutant("1/N twice in BP3 and BP4", "kernels/passes.py",
           "grad.dtype.type(1.0 / n)", "grad.dtype.type(1.0 / n / n)",
           "test_kernels.py::test_a_compiled_pass_is_the_reference"),
    Mutant("sigma' left out of BP1", "kernels/output.py",
           "            for j in range(start, start + width):\n                delta[j] = moved[j] * slope[j]",
           "            for j in range(start, start + width):\n                delta[j] = moved[j]",
           "test_check.py::test_a_right_backward_pass_is_proved"),
    Mutant("a stale buffer: every step sees the first batch", "kernels/train.py",
           "data, course.order, start, low, high)\n    for", "data, course.order, 0, low, high)\n    for",
           "test_training.py::test_steps_are_those_of_the_oracle"),
    Mutant("the step's eta not divided by the batch", "kernels/train.py",
           "scale = kind(-eta / total)", "scale = kind(-eta)",
           "test_training.py::test_steps_are_those_of_the_oracle"),
    Mutant("a sample's weight left out of its error", "kernels/train.py",
           "            delta[j] *= weight\n", "",
           "test_weights.py::test_a_step_is_that_of_the_reference"),
    Mutant("weighted means divided by the number of samples", "kernels/train.py",
           "    return total if total != 0 else 1.0", "    return np.float64(n)",
           "test_weights.py::test_a_step_is_that_of_the_reference"),
    Mutant("patience judged by the latest epoch, not the best", "kernels/train.py",
           "    if loss < patience[BEST]:\n        patience[BEST] = loss", "    patience[BEST] = loss",
           "test_sklearn.py::test_a_whole_training_stops_where_theirs_stops"),
    Mutant("the shuffles drawn ahead not put back", "sklearn/descent.py",
           "        generator.set_state(before)\n", "",
           "test_sklearn.py::test_a_whole_training_stops_where_theirs_stops"),
    Mutant("scikit-learn's penalty not divided by the batch", "sklearn/descent.py",
           "_replace(shared_l2=True)", "_replace(shared_l2=False)",
           "test_sklearn.py::test_five_epochs_reach_the_same_weights"),
    Mutant("Adam's epsilon after the correction, for scikit-learn", "kernels/update.py",
           "            epsilon *= unbias\n", "            epsilon *= one\n",
           "test_course.py::test_epsilon_before_the_correction_is_kingmas_second_form"),
    Mutant("the optimiser's memory not kept by a warm start that asks for it", "sklearn/perceptron.py",
           "(self.warm_start and self.keep_optimizer)", "False",
           "test_sklearn_more.py::test_a_warm_start_may_keep_the_optimiser"),
    Mutant("a silenced unit passes the error on", "kernels/train.py",
           "            slope[i] = 0\n", "",
           "test_training.py::test_dropout_silences_its_share_and_keeps_the_mean"),
    Mutant("NaN assumed away by the compiler", "kernels/compile.py",
           'FASTMATH = {"reassoc", "contract", "nsz", "arcp"}', 'FASTMATH = {"fast"}',
           "test_training.py::test_the_first_bad_value_is_named_wherever_it_appears"),
    Mutant("the interpreter's lock held while the kernels run", "kernels/compile.py",
           '"nogil": True', '"nogil": False',
           "test_training.py::test_the_lock_is_released_while_the_kernels_run"),
    Mutant("Adam's clock not kept between calls", "training.py",
           "counts[train.T] = self.memory.steps", "counts[train.T] = 0",
           "test_training.py::test_five_epochs_and_five_more_are_ten"),
    Mutant("the generator's state not restored", "checkpoint.py",
           'net.rng.bit_generator.state = kept["generator"]', "pass",
           "test_checkpoint.py::test_killed_in_the_middle_of_an_epoch"),
    Mutant("a file written in place", "store.py",
           'part = path.with_name(path.name + ".part")', "part = path",
           "test_checkpoint.py::test_killed_in_the_middle_of_a_write"),
    Mutant("an absolute tolerance in the check", "check.py",
           "allowed = limit * size(true)", "allowed = limit",
           "test_check.py::test_a_vanishing_error_is_measured_not_waved_through"),
    Mutant("a kink not noticed", "check.py",
           "(side_up == side_down).all(axis=-1)", "np.ones(up.shape, bool)",
           "test_check.py::test_a_kink_within_reach_of_the_step_is_named_not_failed"),
    Mutant("the transpose left out of the walk: row k in place of column k", "explain.py",
           "net.W[l + 1][:, k].copy()", "np.resize(net.W[l + 1][k % len(net.W[l + 1])], len(net.W[l + 1]))",
           "test_explain.py::test_what_the_wires_bring_back_adds_up_as_printed"),
    Mutant("the walk's nudge one-sided", "explain.py",
           "for one in (dz, -dz))", "for one in (dz, 0 * dz))",
           "test_explain.py::test_the_nudge_measures_delta"),
    Mutant("the pseudo-inverse is the transpose by another name", "explain.py",
           "answer, _, rank, _ = np.linalg.lstsq(W, ahead, rcond=None)",
           "answer, rank = W.T @ ahead, np.linalg.matrix_rank(W)",
           "test_explain.py::test_the_inverse_answers_another_question"),
    Mutant("the wires not shown left out of the sum", "walk.py",
           "\"\", t_text(terms[rest].sum())))", "\"\", t_text(0.0)))",
           "test_explain.py::test_what_the_wires_bring_back_adds_up_as_printed"),
    Mutant("the symbolic proof without the transpose", "formula/evaluate.py",
           "sum(at[row[k]] * one for row, one in zip(chain.w[m + 1], delta, strict=True))",
           "sum(at[w] * one for w, one in zip(chain.w[m + 1][k], delta, strict=True))",
           "test_derivation.py::test_bp2_is_proved_for_every_activation_and_depth"),
    Mutant("a user's name taken for markup", "document.py",
           'return " ".join(name.split()).replace("$", DOLLAR)', "return name",
           "test_explain.py::test_a_pair_of_the_users_own_and_words_for_classes_and_wild_names"),
    Mutant("a formula judged without looking at the number", "formula/judge.py",
           "        if not off <= HOLDS:\n", "        if False:\n",
           "test_formula.py::test_the_false_do_not_and_are_mended"),
    Mutant("a formula's * bound alike in books and in Python", "formula/words.py",
           'elif kind == "STAR" and not self.python:', 'elif kind == "STAR":',
           "test_formula.py::test_python_is_judged_as_numpy_computes_it"),
    Mutant("an edit of a formula named but not made", "formula/mend.py",
           "return [phrase, second], two", "return [phrase, second], one",
           "test_formula.py::test_the_false_do_not_and_are_mended"),
    Mutant("a convention of another book not tried", "formula/judge.py",
           "for phrase, convention in worlds.CONVENTIONS:", "for phrase, convention in worlds.CONVENTIONS[1:]:",
           "test_formula.py::test_a_formula_of_another_book_is_false_here_and_said_to_hold_there"),
    Mutant("sigma' left out of BP1 behind the quadratic cost", "kernels/output.py",
           "            moved[j] = a[j] - y[j]\n            delta[j] = moved[j] * slope[j]",
           "            moved[j] = a[j] - y[j]\n            delta[j] = moved[j]",
           "test_check.py::test_a_right_backward_pass_is_proved"),
    Mutant("a member's gradient left out of the sum", "kernels/train.py",
           "for member in range(1, grad.shape[0]):", "for member in range(2, grad.shape[0]):",
           "test_team.py::test_a_large_batch_in_parts_is_the_batch"),
    Mutant("the members do not wait for each other", "kernels/team.py",
           "    if team.size == 1:\n        return\n", "    if team.size >= 1:\n        return\n",
           "test_team.py::test_the_weights_are_those_of_one_thread_and_the_same_bits_each_time"),
    Mutant("every rule is the transpose", "kernels/feedback.py",
           "    if code == TRANSPOSE:\n", "    if True:\n",
           "test_rules.py::test_a_pass_is_what_the_rule_says"),
    Mutant("direct feedback from the layer above", "kernels/feedback.py",
           "sizes.size - 1 if code == DIRECT else l + 1", "l + 1",
           "test_rules.py::test_a_pass_is_what_the_rule_says"),
    Mutant("the signs not taken", "kernels/passes.py",
           "        refresh(theta, layers, feedback)\n", "",
           "test_rules.py::test_a_pass_is_what_the_rule_says"),
    Mutant("the signs taken once and kept", "kernels/train.py",
           "                refresh(theta, layers, feedback)\n", "                pass\n",
           "test_rules.py::test_training_is_what_the_rule_says"),
    Mutant("Kolen and Pollack's B does not decay", "kernels/feedback.py",
           "B[i] = kept * (B[i] - W[i])", "B[i] = B[i] - W[i]",
           "test_rules.py::test_kolen_and_pollacks_matrices_grow_alike_at_the_stated_rate"),
    Mutant("a learned matrix not kept between fits", "training.py",
           "if not counts[BAD_LAYER] and np", "if False and np",
           "test_rules.py::test_five_epochs_and_five_more_are_ten"),
    Mutant("a learned matrix not in the checkpoint", "checkpoint.py",
           'training.feedback.B[:] = tensors["B"]', "pass",
           "test_watch.py::test_a_resumed_training_has_the_same_angles_flow_and_matrices"),
    Mutant("dead judged by one batch", "training.py",
           "min(N, DEAD_AFTER)", "1",
           "test_watch.py::test_a_healthy_relu_network_is_not_called_dead_for_what_is_silent_in_a_batch"),
    Mutant("the silence of the neurons not in the checkpoint", "checkpoint.py",
           'training.watch.silence[:] = tensors["silence"]', "pass",
           "test_watch.py::test_a_resumed_training_has_the_same_angles_flow_and_matrices"),
    Mutant("a compiled rule of the wrong shape computed with", "rules.py",
           "call.check(self.function(", "(self.function(",
           "test_rules.py::test_what_a_rule_gives_wrong_is_named_and_nothing_is_computed_with_it"),
    Mutant("a learned matrix that outlives a divergence", "training.py",
           "if not counts[BAD_LAYER] and np.isfinite(self.feedback.B).all():", "if True:",
           "test_rules.py::test_what_kolen_and_pollack_learned_does_not_outlive_a_training_that_diverged"),
    Mutant("the flow's norms before and after a move swapped", "kernels/watch.py",
           "row[MOVED] = watch.seen[0, l - 1, MOVED] / math.sqrt(n)",
           "row[MOVED] = watch.seen[0, l - 1, DELTA] / math.sqrt(n)",
           "test_watch.py::test_every_step_is_recorded_as_its_trace_says"),
    Mutant("lengths whose squares have underflown", "kernels/lengths.py",
           "if low < total < high:", "if total < high:",
           "test_kernels.py::test_the_lengths_of_the_error_are_right_where_squares_are_not"),
    Mutant("samples left over where rows are folded", "kernels/products.py",
           "        rows -= whole * fold\n", "        rows = 0\n",
           "test_kernels.py::test_the_sums_over_the_samples_of_any_shape"),
    Mutant("what one member of a team has heard, for all", "kernels/watch.py",
           "watch.seen[0, l - 1, k] += watch.seen[member, l - 1, k]", "pass",
           "test_team.py::test_what_is_watched_is_the_same_whoever_sees_it"),
    Mutant("an edit that does not go on below", "network.py",
           "            backprop(self.theta, self._layers, given, buffers, grad, l)\n", "",
           "test_edits.py::test_an_edit_changes_its_layer_all_below_and_nothing_above"),
    Mutant("the predicted change with the trace's own gradient squared", "edits.py",
           "zip(right, gradients, strict=True))", "zip(gradients, gradients, strict=True))",
           "test_edits.py::test_the_change_of_the_cost_is_predicted_and_made"),
    Mutant("blame by the output's delta, which saturation hides", "blame.py",
           'np.argsort(-cost, kind="stable")', 'np.argsort(-by_sample, kind="stable")',
           "test_edits.py::test_blame_finds_wrong_labels"),
    Mutant("every rule compared with the same seed", "comparison.py",
           'dtype=dtype, seed=seed)', 'dtype=dtype, seed=0)',
           "test_comparison.py::test_each_training_is_the_one_that_fit_does"),
    Mutant("the best weights not restored", "training.py",
           "self.net.theta[:] = self.best", "pass",
           "test_training.py::test_early_stopping_restores_the_best_weights"),
    Mutant("a verdict that blames the move that lost least", "verdicts.py",
           "cause = min(between, key=lambda move: move.gain)", "cause = max(between, key=lambda move: move.gain)",
           "test_verdicts.py::test_a_sigmoid_stack_vanishes_and_the_budget_says_where"),
    Mutant("a remedy predicted without the activation", "remedies.py",
           '"both": c * w * self._through(slope)', '"both": c * w',
           "test_remedies.py::test_a_remedy_mends_the_flow_and_its_prediction_comes_true"),
    Mutant("a remedy that does not see what a change below does to z", "remedies.py",
           "r, s = layer.growth(changes.get(l))", "r, s = 1.0, 1.0",
           "test_remedies.py::test_a_prediction_knows_what_the_changes_below_do_to_z"),
    Mutant("a remedy that changes the network itself", "network.py",
           "other = copy.deepcopy(self)", "other = self",
           "test_remedies.py::test_a_remedy_mends_the_flow_and_its_prediction_comes_true"),
    Mutant("a flat output excused though the cost lets its slope through", "flow.py",
           "    lets_through = _is_quadratic(trace)\n", "    lets_through = False\n",
           "test_verdicts.py::test_the_books_slow_neuron_is_saturated_and_the_cross_entropy_frees_it"),
    Mutant("NaN written as something that is not JSON", "records.py",
           "if isinstance(value, float) and not math.isfinite(value):", "if False:",
           "test_records.py::test_a_record_goes_through_json_and_back_to_the_last_bit"),
    Mutant("the wrong column read back from a watched training", "watched.py",
           'Move(l, "weights", delta[l], moved[l - 1])', 'Move(l, "weights", delta[l - 1], moved[l - 1])',
           "test_watched.py::test_a_step_read_back_is_the_flow_of_its_trace"),
    Mutant("one dtype forgotten when compiling ahead", "warm.py",
           'for dtype in ("float32", "float64"):', 'for dtype in ("float32",):',
           "test_compile.py::test_what_was_compiled_ahead_is_loaded"),
    Mutant("the collector of garbage left as a compilation had it", "kernels/doors.py",
           "                if collects:\n", "                if not collects:\n",
           "test_compile.py::test_the_collector_of_garbage_is_as_it_was_after_a_compilation"),
    Mutant("what a part calls not linked into the door", "kernels/doors.py",
           "library._below({}) if isinstance(library, _Part) else (library,):", "(library,):",
           "test_check.py::test_a_right_backward_pass_is_proved"),
]  # fmt: skip


def is_seen(mutant: Mutant) -> tuple[bool, str]:
    """Whether the named test fails on a copy of the source with this break, and the test's last words."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "src"
        shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
        path = copy / "deltarule" / mutant.file
        source = path.read_text()
        if source.count(mutant.right) != 1:
            return False, f"{mutant.right!r} stands {source.count(mutant.right)} times in {mutant.file}"
        path.write_text(source.replace(mutant.right, mutant.wrong))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-W", "error"]
        done = subprocess.run(
            [*command, f"tests/{mutant.test}"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
        )
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        # 1: tests were run and some failed. Anything else, an error of collection say, is not a test seen red.
        return done.returncode == 1 and "failed" in last, last


def main() -> int:
    survivors = 0
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for mutant, (seen, last) in zip(MUTANTS, pool.map(is_seen, MUTANTS), strict=True):
            survivors += not seen
            print(f"{'red ' if seen else 'SURVIVED'}  {mutant.what}  ({mutant.test})", flush=True)
            if not seen:
                print(f"          {last}", flush=True)
    print(f"{len(MUTANTS) - survivors} of {len(MUTANTS)} breaks were seen")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
