"""The public sets that `fetch` brings by name: where each one lies, which revision, and how to use it.

A table and nothing else: no network, no files. A revision stands here only where it was looked up; where it is None
the first fetch records the one that it got (docs/how-to/get-public-data.md).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PUBLIC_SETS", "PublicSet"]


@dataclass(frozen=True, slots=True)
class PublicSet:
    """One public set.

    Attributes:
        about: What it holds, in a line.
        host: "hub" (a dataset of the Hugging Face hub) or "github".
        repository: OWNER/NAME there.
        revision: Full commit; None where the first fetch pins what it finds on the branch `main`.
        files: Paths in the repository; or one pattern such as "*.parquet" (hub only), which the hub's own list of the
            revision's files resolves.
        licence: As its publisher states it.
        use: What to run with it; `{folder}` is where it was fetched to, `{tables}` its files there.
        refused: Why it is not fetched and what to do instead; empty where it is fetched.
    """

    about: str
    host: str
    repository: str
    revision: str | None
    files: tuple[str, ...]
    licence: str
    use: tuple[str, ...] = ()
    refused: str = ""


_EVALS = "routellm/evals"
_SUBJECTS = """
abstract_algebra anatomy astronomy business_ethics clinical_knowledge college_biology college_chemistry
college_computer_science college_mathematics college_medicine college_physics computer_security conceptual_physics
econometrics electrical_engineering elementary_mathematics formal_logic global_facts high_school_biology
high_school_chemistry high_school_computer_science high_school_european_history high_school_geography
high_school_government_and_politics high_school_macroeconomics high_school_mathematics high_school_microeconomics
high_school_physics high_school_psychology high_school_statistics high_school_us_history high_school_world_history
human_aging human_sexuality international_law jurisprudence logical_fallacies machine_learning management marketing
medical_genetics miscellaneous moral_disputes moral_scenarios nutrition philosophy prehistory professional_accounting
professional_law professional_medicine professional_psychology public_relations security_studies sociology
us_foreign_policy virology world_religions
""".split()  # noqa: SIM905 - fifty-seven quoted lines say no more

PUBLIC_SETS: dict[str, PublicSet] = {
    "lmsys-arena-55k": PublicSet(
        about="55k Chatbot Arena battles among more than 60 models, voted by people, with answers",
        host="hub",
        repository="lmsys/lmsys-arena-human-preference-55k",
        revision=None,
        files=("train.csv",),
        licence="Apache-2.0",
        use=("prefroute data inspect {tables}",),
    ),
    "routellm-gpt4-judge": PublicSet(
        about="109k battles of gpt-4-1106-preview and Mixtral 8x7B, judged by GPT-4, with answers",
        host="hub",
        repository="routellm/gpt4_judge_battles",
        revision="2a1afe8d0659904c0f6f59de6179e086fdb027c7",
        files=("*.parquet",),
        licence="Apache-2.0; its prompts come from Nectar, whose card adds terms of its own",
        use=("prefroute data inspect {tables}",),
    ),
    "routellm-benchmarks": PublicSet(
        about="MMLU, GSM8K and MT-Bench with the outcomes of gpt-4-1106-preview and Mixtral 8x7B",
        host="github",
        repository="lm-sys/RouteLLM",
        revision="0b64fdafe049e596a3f5657c219329f24af24198",
        files=(
            f"{_EVALS}/gsm8k/contaminated_prompts.jsonl",
            f"{_EVALS}/gsm8k/gsm8k_responses.csv",
            f"{_EVALS}/mmlu/contaminated_prompts.jsonl",
            *(f"{_EVALS}/mmlu/responses/mmlu_{subject}.csv" for subject in _SUBJECTS),
            f"{_EVALS}/mt_bench/contaminated_prompts.jsonl",
            f"{_EVALS}/mt_bench/judgements.jsonl",
            f"{_EVALS}/mt_bench/question.jsonl",
        ),
        licence="Apache-2.0 (outcomes, MT-Bench), MIT (MMLU and GSM8K questions)",
        use=(
            f"prefroute data inspect {{folder}}/{_EVALS}/mmlu/responses/mmlu_anatomy.csv",
            "prefroute evaluate default --benchmark mmlu --data {folder}",
        ),
    ),
    "routerbench": PublicSet(
        about="36k prompts with the scores and costs of 11 models",
        host="hub",
        repository="withmartian/routerbench",
        revision="784021482c3f320c6619ed4b3bb3b41a21424fcb",
        files=(),
        licence="none stated",
        refused="it is published as pickles only (.pkl), and opening a pickle runs code from it, so prefroute never "
        "does. Convert one to Parquet on a machine that you can throw away (docs/how-to/get-public-data.md), then run "
        "`prefroute data inspect` on that.",
    ),
}
"""Name -> public set, in the order in which they are listed."""
