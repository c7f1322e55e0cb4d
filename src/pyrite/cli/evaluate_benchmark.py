"""One benchmark on one set of images: drawn if need be, judged, added up."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pyrite.cli.evaluate_told import print_plan, print_table, tell, tell_looked
from pyrite.cli.stopping import stopping

if TYPE_CHECKING:
    from pyrite.evaluation.benchmarks.images import FoundImages
    from pyrite.evaluation.benchmarks.protocol import Benchmark, Case
    from pyrite.evaluation.benchmarks.results import Other
    from pyrite.evaluation.benchmarks.run import Looked

EXIT_INCOMPLETE = 3
STEPS = ("generate", "judge", "aggregate")


@dataclass(frozen=True)
class Job:
    """One evaluation by one benchmark.

    Args:
        benchmark: ready to work.
        cases: its prompts.
        images: where they are, or what draws them.
        out: the folder.
        step: the only one to take; empty for all.
        official: the images are official result files.
        named: what results call the images.
    """

    benchmark: "Benchmark"
    cases: "Sequence[Case]"
    images: str
    out: Path
    step: str
    official: bool
    named: str

    @property
    def draws(self) -> bool:
        """Whether the images have to be drawn first, and this is to do it."""
        path = Path(self.images)
        is_policy = not path.exists() or (
            path.is_dir() and any((path / name).is_file() for name in ("config.yaml", "config.json"))
        )
        return is_policy and not self.official and self.step in ("", "generate")

    def drawn(self, *, overrides: list[str] | None, dry_run: bool, **options: Any) -> "Job":
        """The same with its images drawn by `pyrite generate`, from a prompt file that lies beside them."""
        from pyrite.cli.generate import generate
        from pyrite.evaluation.benchmarks.folder import IMAGES, PROMPTS
        from pyrite.records.jsonl import teaching_os_errors, write_atomically

        prompts, folder = self.out / PROMPTS, self.out / IMAGES
        with teaching_os_errors(f"write into {self.out}"):
            self.out.mkdir(parents=True, exist_ok=True)
        write_atomically(prompts, "".join(json.dumps(dict(case.row), ensure_ascii=False) + "\n" for case in self.cases))
        generate(
            self.images, prompts, folder, num=self.benchmark.images_per_prompt or 1, layout=self.benchmark.layout,
            overrides=overrides, dry_run=dry_run, **options,
        )  # fmt: skip
        return replace(self, images=str(folder))

    def export(self, out: Path, *, layout: str | None, number: int | None) -> None:
        """Write the images that are there under their official names."""
        from pyrite.evaluation.benchmarks.export import export_images

        found = _images(self, layout, number)
        num = export_images(self.benchmark, self.cases, found, out)
        for note in found.notes:
            typer.echo(note, err=True)
        if found.missing:
            typer.echo(f"{len(found.missing)} of {len(self.cases)} prompts have no image to export", err=True)
        typer.echo(f"{num} images in {out}", err=True)

    def judge_and_add_up(
        self,
        *,
        layout: str | None,
        number: int | None,
        repeats: int,
        against: Sequence[Path],
        dry_run: bool,
        as_json: bool,
    ) -> None:
        """Look at the images, unless only adding up is asked for; then add up, unless only looking is."""
        from pyrite.evaluation.benchmarks.folder import read_facts
        from pyrite.evaluation.benchmarks.results import read_others
        from pyrite.evaluation.benchmarks.run import read_seen, seen_officially

        others = read_others(self.benchmark.name, against)  # before anybody is asked
        if self.official:
            seen = seen_officially(self.cases, _official(self.benchmark, Path(self.images), self.cases))
            self._add_up(seen, {"weights": "unknown: read from official files"}, (), others, as_json=as_json)
            return
        found = _images(self, layout, number)
        if dry_run:
            print_plan(self.benchmark, found, self.out, repeats, as_json=as_json)
            return
        looked = None
        if self.step != "aggregate":
            looked = self._look(found, repeats)
            tell_looked(looked)
        if self.step == "judge":
            if looked is not None and looked.num_left:
                raise typer.Exit(EXIT_INCOMPLETE)
            return
        examiner = read_facts(self.out)["examiner"]
        self._add_up(
            read_seen(self.benchmark, self.cases, found, self.out), examiner, found.notes, others, as_json=as_json
        )

    def _look(self, found: "FoundImages", repeats: int) -> "Looked":
        from pyrite.cli.score import progress_bar
        from pyrite.evaluation.benchmarks.run import look

        with stopping(f"what was answered is in {self.out}"), progress_bar("judging") as progress:
            return look(self.benchmark, found, self.out, repeats=repeats, progress=progress)

    def _add_up(
        self, seen: Any, examiner: Mapping[str, Any], notes: Sequence[str], against: "Sequence[Other]", *, as_json: bool
    ) -> None:
        from pyrite.audit.report.benchmark_page import write_benchmark_page
        from pyrite.evaluation.benchmarks import tables
        from pyrite.evaluation.benchmarks.folder import LATEX, MARKDOWN, PAGE
        from pyrite.evaluation.benchmarks.results import write_results
        from pyrite.records.jsonl import write_atomically

        results = write_results(
            self.benchmark, seen, self.out, examiner=examiner, images=self.named, notes=notes, against=against
        )
        write_atomically(self.out / MARKDOWN, tables.markdown(results))
        write_atomically(self.out / LATEX, tables.latex(results))
        write_benchmark_page(self.out, self.out / PAGE)
        if as_json:
            typer.echo(json.dumps(results, ensure_ascii=False))
        else:
            print_table(results)
        tell(results, self.out / PAGE)
        if results["missing"]:
            raise typer.Exit(EXIT_INCOMPLETE)


def make_job(
    images: Sequence[str], benchmark: str, source: Sequence[Path], out: Path | None, step: str,
    settings: Mapping[str, Any], *, official: bool,
) -> Job:  # fmt: skip
    """What a command line asks for, with its prompts read and its benchmark ready.

    Raises:
        RecipeError: a step or an option that is none, or not one set of images.
        UnknownNameError: no benchmark of that name.
        PromptFileError: the prompts cannot be read, or are not this benchmark's.
    """
    from pyrite.cli.evaluate_tools import load_benchmark
    from pyrite.core.errors import RecipeError
    from pyrite.evaluation.benchmarks.folder import IMAGES, read_facts

    if step not in ("", *STEPS):
        raise RecipeError(
            f"--step {step} is no step of an evaluation. Give {', '.join(STEPS)}, or leave it out for all."
        )
    if len(images) != 1:
        raise RecipeError(
            f"--benchmark evaluates one set of images, and {len(images)} were named. Give each its own command."
        )
    path = Path(images[0])
    folder = out or path.absolute().with_name(f"{path.absolute().name}.{benchmark}")
    is_known = step == "aggregate" and not official
    ready = load_benchmark(benchmark, source, settings, read_facts(folder)["examiner"] if is_known else None)
    place = str(folder / IMAGES) if step in ("judge", "aggregate") and not path.exists() else images[0]
    return Job(ready, ready.cases(), place, folder, step, official, images[0])


def _official(benchmark: "Benchmark", path: Path, cases: "Sequence[Case]") -> Any:
    from pyrite.core.errors import ImageSetError

    found = benchmark.from_official(path, cases)
    if not found:
        raise ImageSetError(
            f"{path} holds no result files of '{benchmark.name}' about these prompts. Give such a file, or the folder "
            "of several, or leave --official out to judge images."
        )
    return found


def _images(job: Job, layout: str | None, number: int | None) -> "FoundImages":
    from pyrite.evaluation.benchmarks.images import find_images

    path = Path(job.images)
    per_prompt = job.benchmark.images_per_prompt
    leave_out = None if path.absolute().is_relative_to(job.out.absolute()) else job.out
    return find_images(path, job.cases, per_prompt=per_prompt, number=number, layout=layout, leave_out=leave_out)
