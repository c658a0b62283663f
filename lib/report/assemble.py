"""A page from the collected runs of a plan: its authored article, or the plain report; shown in notebook 90."""
import pandas as pd
from IPython.display import HTML, Markdown, display

from lib import InputError
from lib.report import article, plain, site, tables
from lib.report.collected import Collected
from lib.report.drawings import FIGURES, study_of
from lib.report.results import Generation, Report
from lib.report.text import escape
from lib.study import claims

# {name: (collected, **options) -> DataFrame} of the tables that an article can place
TABLES = {
    "arms": lambda collected, study="": tables.arms(study_of(collected, study).result),
    "contrasts": lambda collected, study="": tables.contrasts(study_of(collected, study).result),
    "optimum": lambda collected, study="": tables.optimum(study_of(collected, study).result),
    "claims": lambda collected: tables.claims(claims.answers(collected)),
    "images": lambda collected: tables.images(collected.families(Generation)),
    "generators": lambda collected: tables.generators(collected.with_generator_gains),
    "exchange": lambda collected: tables.exchange(collected.doses[0].result),
    "walks": lambda collected: tables.walks(next(s.result for s in collected.ablations if s.result.walks)),
}


def page(collected: Collected, folder=None):
    """The blocks of a plan's page: Markdown texts, tables, and figures to draw. folder: of the articles."""
    file = article.find(collected.plan, folder)
    title, *blocks = article.page(article.read(file), collected) if file else plain.page(collected)
    return [title, *plain.byline(collected), *plain.gaps(collected), *blocks, *plain.appendix(collected)]


def show(run, collected, blocks):
    """Show the blocks in the notebook of `run`, which keeps the pictures. InputError for an unknown figure or table."""
    for block in blocks:
        if isinstance(block, str):
            display(Markdown(block))
        elif isinstance(block, pd.DataFrame):
            show_table(block)
        elif block.kind == "table":
            known(block, TABLES)
            show_table(TABLES[block.name](collected, **block.options), block.caption)
        else:
            known(block, FIGURES)
            drawn = FIGURES[block.name].draw(collected, **block.options)
            labels = [value for value in block.options.values() if isinstance(value, str)]
            run.figure(drawn.figure, "-".join([block.name.replace("_", "-"), *labels]), block.alt, block.caption,
                       links=site.links(drawn.step.name, drawn.table), vector=True, switch=drawn.switch)


def known(block, accepted):
    if block.name not in accepted:
        raise InputError(f"{block.kind} {block.name!r}: expected one of {', '.join(accepted)}")


def show_table(table, caption=""):
    """Show a DataFrame; its cells are HTML."""
    html = table.to_html(index=False, border=0, escape=False)
    if caption:
        html = html.replace(">", f"><caption>{escape(caption)}</caption>", 1)
    display(HTML(html))


def report(collected):
    """What the page itself keeps: the original paper's claims, which the plain report leaves out, and the data of its
    figures."""
    answers = claims.answers(collected) if article.find(collected.plan) else ()
    rows = [(a.claim, a.where, a.verdict, str(a.number)) for a in answers]
    return Report(len(collected.steps), len(collected.missing),
                  pd.DataFrame(rows, columns=["claim", "where", "verdict", "evidence"]),
                  tables.all_gains(collected.studies), tables.quality(collected.generations),
                  tables.provenance(collected.steps))
