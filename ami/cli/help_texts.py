"""Explanations in the help that belong to no single flag: overrides, sweeps, a run's files, a comparison's tests."""

from __future__ import annotations

from ami.cli.arguments import rows

EXIT_CODES = (
    "0 done, 1 a check found a broken promise, 2 refused or failed, 3 a fault in ami itself, 130 stopped by Ctrl-C\n"
    "An error is one line. AMI_TRACEBACK=1 in the environment prints the whole traceback before it.")

PRECEDENCE = (
    "The defaults in configs/, agent=…, experiment=…, then the other overrides. A module chosen by an override replaces "
    "that of the agent or experiment, but keeps their settings of that node. A key has one value; experiment=[quick,ema] "
    "applies both, and the later one wins.")

SWEEPS = (
    "A failed job does not stop the others; a table at the end names it, and the exit code is 2. The same command with "
    "hydra.sweep.dir=THAT_FOLDER resumes: a job is skipped if it finished with the same settings, code of its modules and "
    "engine, and version of ami.")

VARIANTS = (
    "A key with several values is swept, a key with one value is the same for all variants: experiment=quick,ema compares "
    "two experiments, 'experiment=[quick,ema]' applies both to every variant, 'experiment=quick,[quick,ema]' compares one "
    "with both.\nEvery variant is checked before the first one runs. Variants with the same training settings share one "
    "training. The same command resumes an interrupted comparison.")

COMPARISON_FOLDER = (
    "summary.json, comparison.csv, comparison.png, records/ with every episode, and a parent run with its children in "
    "MLflow")


def overrides() -> str:
    """Return the kinds of overrides."""
    return rows([
        ("group=choice", "swap a module, world, agent or experiment; `ami list` prints the choices"),
        ("node.setting=value", "a setting of a module: planner.horizon=6, world.door=random"),
        ("node._target_=pkg.Class", "a class of your own, with --allow pkg."),
        ("graph.node.input=node.output[@-1]", "rewire one input, `@-1` delays it by one tick; graph.node.every=2 fires "
                                              "every 2nd tick"),
        ("graph.node.on_failure=hold_last", "what an error of the module or the death of its process leads to: restart, "
                                             "hold_last or raise"),
        ("graph.node.device=auto", "the device of a module: auto, cpu, cuda or cuda:n; by default cpu"),
        ("graph.node.input='{from: node.output, cut: true}'", "cut a wire: the input always receives 0"),
        ("~graph.node.input", "remove one wire; +graph.node={...} adds a node")])


def folder() -> str:
    """Return the files of a run."""
    return rows([("summary.json", "every printed figure"), ("trace/", "the record of every cycle; `ami trace show DIR`"),
                 ("*.png, *.gif", "plots and videos")]) + (
        "\nand to the store: the trained agents, cached by the hash of their training settings, and mlflow.db; `ami ui` "
        "shows them")


def comparison_table() -> str:
    """Return the figures of a comparison's table and their tests."""
    return (
        "Success or mean return by kind of pair over all seeds, with its 95 % interval; below it p against the reference, "
        "paired by pair and seed, corrected for the number of variants (Holm).\n" + rows([
            ("several seeds", "seeds and pairs are crossed random effects: a two-way analysis of variance, Student's t with "
                              "Satterthwaite's degrees of freedom; of a rate, Wilson's interval with the effective number "
                              "of trials"),
            ("one seed", "the table notes that the seed is not varied. Success: Wilson's interval and the exact McNemar "
                         "test. Returns: Student's interval, or the BCa bootstrap if it leaves the observed range; "
                         "Wilcoxon's test")]) +
        "\nIf a key changes the pairs, there is no test and the reason is printed. Further columns: model steps per plan, "
        "wall milliseconds per decision, minutes of training per seed.")
