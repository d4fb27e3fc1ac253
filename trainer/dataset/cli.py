"""`evenhand dataset`: build, validate, split and count data sets of disputes with candidates."""

import argparse
from dataclasses import asdict
from typing import Any

# Only light imports here: `evenhand --help` must not wait for what it does not need.
from mediator.cli_output import BAD_INPUT, DONE, EXIT_STATUS, add_action, add_output, print_json, say
from mediator.errors import InputError
from mediator.settings import user_path
from trainer.dataset.building.cli import add_build


def add_dataset(commands: Any) -> None:
    """Add ``dataset`` with its actions to a parser's sub-commands; each sets ``handler``."""
    parser = commands.add_parser(
        "dataset",
        help="build, validate, split and count data sets to train on",
        description="Build, validate, split and count data sets: JSONL files of disputes with candidates.",
        epilog=EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    add_build(actions)
    _add_validate(actions)
    _add_split(actions)
    _add_stats(actions)


def _add_validate(actions: Any) -> None:
    parser = add_action(actions, "validate", "check a data set and list every bad line")
    parser.add_argument("file", metavar="FILE", help="the data set, a JSONL file")
    add_output(parser)
    parser.set_defaults(handler=validate_command)


def _add_split(actions: Any) -> None:
    parser = add_action(
        actions,
        "split",
        "divide a data set into training, validation and test, so that no view is in two of them",
        notes="""\
Writes FILE's name with .train, .validation and .test before its ending, beside it. Disputes that share the text of a
view go together; where that is impossible, some are left out, which is said.""",
        example="evenhand dataset split candidates.jsonl --seed 1",
    )
    parser.add_argument("file", metavar="FILE", help="the data set, a JSONL file")
    parser.add_argument("--shares", default="75,5,20", metavar="A,B,C", help="per cent of each part (default: 75,5,20)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed, another division (default: 0)")
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    add_output(parser)
    parser.set_defaults(handler=split_command)


def _add_stats(actions: Any) -> None:
    parser = add_action(actions, "stats", "count a data set's disputes and candidates, by strategy")
    parser.add_argument("file", metavar="FILE", help="the data set, a JSONL file")
    add_output(parser)
    parser.set_defaults(handler=stats_command)


def validate_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand dataset validate`."""
    from trainer.dataset.data import problems

    found = problems(arguments.file)
    if arguments.json:
        print_json({"file": arguments.file, "problems": [asdict(problem) for problem in found]})
    else:
        for problem in found:
            print(f"{arguments.file}, {problem}")
    lines = len({problem.line for problem in found})
    bad = "1 line is bad" if lines == 1 else f"{lines:,} lines are bad"
    say(f"{arguments.file}: {bad if found else 'every line is good'}.")
    return BAD_INPUT if found else DONE


def split_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand dataset split`."""
    from trainer.dataset.data import read_examples, write_examples
    from trainer.dataset.splits import largest_component, split

    path = user_path(arguments.file)
    shares = _shares(arguments.shares)
    examples = read_examples(path)
    found = split(examples, shares, arguments.seed)
    paths = {name: path.with_name(f"{path.stem}.{name}{path.suffix}") for name in found.parts()}
    if there := [str(path) for path in paths.values() if path.exists() and not arguments.force]:
        raise InputError(f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} there already.", "Give --force.")
    for name, part in found.parts().items():
        write_examples(paths[name], part)
    left_out = [example.id for example in found.left_out]
    if arguments.json:
        parts = {name: {"file": str(paths[name]), "disputes": len(part)} for name, part in found.parts().items()}
        print_json({"file": str(path), **parts, "left_out": left_out, "largest_group": largest_component(examples)})
        return DONE
    kept = len(examples) - len(left_out)
    for name, part in found.parts().items():
        print(f"{paths[name]}: {len(part):,} disputes ({len(part) / max(kept, 1):.1%})")
    if left_out:
        print(
            f"Left out: {len(left_out):,}, each with one view that is in one part and one in another: "
            f"{', '.join(left_out[:10])}{' ...' if len(left_out) > 10 else ''}"
        )
    else:
        print("Nothing is left out: no view is in two parts.")
    return DONE


def _shares(text: str) -> tuple[float, float, float]:
    try:
        numbers = [float(part) for part in text.split(",")]
        train, validation, test = (number / sum(numbers) for number in numbers)
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"--shares {text!r} are not three numbers.", "Write them like 75,5,20.") from error
    return train, validation, test


def stats_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand dataset stats`."""
    from trainer.dataset.data import read_examples
    from trainer.dataset.stats import stats_of

    found = stats_of(read_examples(arguments.file))
    if arguments.json:
        print_json({"file": arguments.file, **asdict(found)})
        return DONE
    print(f"{found.disputes:,} disputes ({found.without_candidates:,} without candidates), {found.texts:,} views")
    rows = [*found.strategies.items(), ("all", found.all)]
    print(f"{'strategy':<16}{'candidates':>12}{'share':>8}{'words':>8}{'gap':>8}{'warmth':>8}{'below floor':>13}")
    for name, group in rows:
        gap, warmth = (f"{value:.3f}" if value is not None else "-" for value in (group.gap, group.warmth))
        print(
            f"{name:<16}{group.candidates:>12,}{group.share:>8.1%}{group.words:>8.1f}{gap:>8}{warmth:>8}"
            f"{group.below_floor:>13,}"
        )
    return DONE
