"""The command line, with one function per verb. ``internal-inpaint --help`` documents it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from pathlib import Path

from internal_inpaint import __version__
from internal_inpaint.control import INTERRUPTED, StopRequest
from internal_inpaint.errors import BadInput, InpaintError
from internal_inpaint.files import as_user_error
from internal_inpaint.job import parse_time
from internal_inpaint.job_options import add_job_options, job_and_folder, with_vgg19_of_environment
from internal_inpaint.threads import lower_priority

PROGRESS = ("auto", "plain", "json", "openjd")
HOSTS = ("nuke", "resolve")


class _Parser(argparse.ArgumentParser):
    """Raises usage errors as ``BadInput``, which is printed as one sentence."""

    def error(self, message: str):
        raise BadInput(f"{message} (see {self.prog} --help)")


def main(arguments: list[str] | None = None) -> int:
    """Run one verb. Returns the exit code: 0 done, 2 bad input, 3 stopped, 4 out of memory or disk, 1 a bug."""
    lower_priority()
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    # These are None in a process that was started with closed output streams.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A character that the console cannot encode must not end the run: print its code instead.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        options = _parser().parse_args(arguments)
        options.verb(options)
        sys.stdout.flush()
        return 0
    except InpaintError as error:
        if debug:
            traceback.print_exc()
        print(f"internal-inpaint: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"internal-inpaint: {INTERRUPTED}", file=sys.stderr, flush=True)
        return 3
    except BrokenPipeError:
        # The reader of the output has closed it, like `| head`. This is not an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if debug:
            traceback.print_exc()
        user_error = as_user_error(error, str(error.filename or "standard output"))
        print(f"internal-inpaint: {user_error}", file=sys.stderr, flush=True)
        return user_error.exit_code
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(
            f"internal-inpaint: this is a bug, please report it with the output of --debug: "
            f"{type(error).__name__}: {' '.join(str(error).split())}",
            file=sys.stderr,
            flush=True,
        )
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="internal-inpaint",
        description="Removes objects from a shot with a network trained on that one shot.",
        epilog="Exit codes: 0 done, 2 bad input or usage, 3 stopped on request (run again to resume), "
        "4 out of memory or disk, 1 a bug.",
    )
    parser.add_argument("--version", action="version", version=f"internal-inpaint {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    run = verbs.add_parser("run", help="remove an object: plate and matte in, clean plate out")
    train = verbs.add_parser("train", help="only train on the shot; `render` can follow on another machine")
    render = verbs.add_parser("render", help="only render, with the weights of a job folder")
    for name, verb, function in (("run", run, _run), ("train", train, _train), ("render", render, _render)):
        add_job_options(verb, name)
        _run_options(verb, restart=verb is not render)
        verb.set_defaults(verb=function)
    render.add_argument(
        "--runtime", choices=("torch", "onnx"), default="torch", help="what runs the network (default: torch)"
    )
    propagate = verbs.add_parser("propagate-matte", help="find a matte for every frame, given the matte of one frame")
    add_job_options(propagate, "propagate-matte")
    _run_options(propagate, restart=True)
    propagate.set_defaults(verb=_run, task="propagate-matte")
    check = verbs.add_parser("check", help="describe a shot and estimate the cost of a job; writes nothing")
    add_job_options(check, "check")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
    check.set_defaults(verb=_check)

    export = verbs.add_parser(
        "export", help="write the trained model to a file, for Nuke's Inference node or scripts"
    )
    export.add_argument("job", metavar="JOBDIR", help="a job folder with a trained shot")
    export.add_argument("--format", required=True, choices=("torchscript", "onnx"))
    export.add_argument("--output", required=True, metavar="FILE", help="model.pt or model.onnx")
    export.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
    export.set_defaults(verb=_export)

    for name, does in (
        ("install", "install the node in Nuke, or in Resolve and Fusion"),
        ("uninstall", "remove the installed node"),
    ):
        verb = verbs.add_parser(name, help=does)
        verb.add_argument("host", choices=HOSTS)
        where = "~/.nuke, or the parent of Fusion's Fuses folder (default: the usual folder of this system)"
        verb.add_argument("--into", metavar="DIR", help=where)
        if name == "install":
            verb.add_argument("--link", action="store_true", help="link to the files instead of copying them")
        verb.add_argument("--dry-run", action="store_true", help="print what would be done, but do nothing")
        verb.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
        verb.set_defaults(verb=_install if name == "install" else _uninstall)

    demo = verbs.add_parser("demo", help="create a sample shot, remove its object, and measure the quality")
    demo.add_argument("--into", default="demo_shot", metavar="DIR", help="folder for the shot (default: demo_shot)")
    demo.add_argument("--time", default="60s", help="training time (default: 60s)")
    demo.add_argument("--progress", choices=PROGRESS, default="auto")
    demo.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
    demo.set_defaults(verb=_demo)
    return parser


def _run_options(parser: argparse.ArgumentParser, restart: bool) -> None:
    """Add the options of a verb that runs a job, other than the job's settings."""
    group = parser.add_argument_group("the run")
    group.add_argument(
        "--work", metavar="DIR", help="the job folder (default: next to the output, or JOB.json's own)"
    )
    if restart:
        group.add_argument("--restart", action="store_true", help="discard the job folder's training and start again")
    group.add_argument("--progress", choices=PROGRESS, default="auto", help="how to print progress (default: auto)")
    group.add_argument("--debug", action="store_true", help="show tracebacks")


def _run_job(options: argparse.Namespace, **mode: bool | str) -> None:
    job, folder = job_and_folder(options)
    stop = StopRequest()
    with stop.on_signals():
        # Imported here, because PyTorch takes seconds to load, and --help, --version and usage errors do not need it.
        from internal_inpaint.events import display
        from internal_inpaint.run import Mode, run

        if mode.get("train", True):
            job = with_vgg19_of_environment(job)
        mode = Mode(restart=getattr(options, "restart", False), **mode)
        result = run(job, folder, display(options.progress), mode, stop)
    if options.progress in ("auto", "plain"):
        _print_result(result, folder)


def _print_result(result, folder: Path) -> None:
    if result.mattes:
        print(f"found the mattes in {result.matte_steps} steps, {result.matte_s:.0f} s: {result.mattes}")
    if result.contact_sheet:  # not of a propagation alone
        _print_fill(result)
    print(f"job folder: {folder}")


def _print_fill(result) -> None:
    trained = f"trained {result.steps} steps in {result.training_s:.0f} s"
    quality = f", validation PSNR {result.psnr:.2f} dB" if result.psnr is not None else ""
    print(trained + quality if result.steps else "a fill that copies what other frames show: nothing was trained")
    if result.frames:
        print(f"{result.frames} frames: {result.output}")
    print(f"contact sheet: {result.contact_sheet}")
    if result.report:
        confidence = (
            f" (mean confidence of the fill {result.confidence:.2f})" if result.confidence is not None else ""
        )
        print(f"report: {result.report}{confidence}")


def _run(options: argparse.Namespace) -> None:
    _run_job(options)


def _train(options: argparse.Namespace) -> None:
    _run_job(options, render=False)


def _render(options: argparse.Namespace) -> None:
    _run_job(options, train=False, runtime=options.runtime)


def _check(options: argparse.Namespace) -> None:
    # The check needs no output.
    job, _ = job_and_folder(argparse.Namespace(**vars(options), output=None if options.job else "-", work=None))
    from internal_inpaint import estimate

    found = estimate.check(job)
    print(json.dumps(found, indent=1) if options.json else estimate.readable(found))


def _export(options: argparse.Namespace) -> None:
    job, folder = job_and_folder(argparse.Namespace(job=options.job, work=None))
    if not options.output.strip():
        raise BadInput("--output is empty: name the file to write")
    from internal_inpaint import exporting

    print(*exporting.export(job, folder, options.format, Path(os.path.expanduser(options.output))), sep="\n")


def _install(options: argparse.Namespace) -> None:
    from internal_inpaint import install

    install.install(options.host, _into(options), options.link, options.dry_run, print)


def _uninstall(options: argparse.Namespace) -> None:
    from internal_inpaint import install

    install.uninstall(options.host, _into(options), options.dry_run, print)


def _into(options: argparse.Namespace) -> Path | None:
    if options.into is not None and not options.into.strip():
        raise BadInput("--into is empty: give a folder or leave it out")
    return None if options.into is None else Path(os.path.expanduser(options.into)).absolute()


def _demo(options: argparse.Namespace) -> None:
    stop = StopRequest()
    with stop.on_signals():
        if not options.into:
            raise BadInput("--into is empty: give a folder for the sample shot")
        seconds = parse_time(options.time)
        from internal_inpaint.demo import verb

        verb.run(Path(os.path.expanduser(options.into)), seconds, options.progress, stop)
