"""What the report's page and PDF hold, from notebooks whose outputs are put in by hand."""
import base64
import io
import re
import time
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pandas as pd
import pypdf
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from lib import ROOT
from lib.report.layout import NUMBER
from lib.report.page import TEMPLATE, WIDGET_STATE, WIDGET_VIEW, write_html
from lib.report.pdf import write_pdf

ALT = 'A blue field, 6 × "2".'


def picture(alt=ALT, caption=r"**Blue wins.** Blue, $\bar\alpha_t$.", size=(600, 200), **more):
    file = io.BytesIO()
    Image.new("RGB", size, (0, 114, 178)).save(file, "PNG")
    words = {"alt": alt, "caption": caption, "width": size[0], "height": size[1]} | more
    return new_output("display_data", {"image/png": base64.b64encode(file.getvalue()).decode(), "text/plain": alt},
                      metadata={"image/png": words})


def shows(data, **metadata):
    return new_output("display_data", data, metadata=metadata)


def table(frame):
    return shows({"text/html": frame._repr_html_(), "text/plain": "a table"})


def code(*outputs, source="x = 1", tags=()):
    return new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)}, execution_count=1)


TEXT = new_markdown_cell
ARMS = pd.DataFrame({"arm": ["real", "real + synthetic"], "accuracy, %": [64.7012, 77.4001], "gain": ["", "12.70 ± 0.40"]})
ARTICLE = [
    code(source="default_seed = 1", tags=["parameters"]),
    code(source="# Parameters\nseed = 7", tags=["injected-parameters"]),
    code(shows({"text/markdown": "# A small report\n\n*Of two arms*\n\n> The summary says 77.4 %."}), source="say(1)", tags=["remove-input"]),
    TEXT("Some words, $x_t$, a [link](https://arxiv.org/abs/2006.11239), [the table](#What-came-out:-p-and-more?).\n\n> Only a quotation."),
    TEXT("## Formulas\n\n$$q(x_t \\mid x_0) = \\mathcal{N}\\!\\left(x_t;\\ \\sqrt{\\bar\\alpha_t}\\,x_0,\\ (1-\\bar\\alpha_t) I\\right) "
         "\\tag{Ho et al. eq. 4}$$\n\n$$\\begin{aligned} a &= \\lVert b \\rVert^2 \\\\ c &= \\mathbb{E}_t[d] \\end{aligned}$$\n\n"
         "\\begin{equation} L = \\left\\lVert \\tilde\\beta_t \\right\\rVert^2 \\tag{Ho et al. eq. 14} \\end{equation}\n\n"
         "$$y = \\begin{cases} 1 & x < 0 \\\\ 0 & \\text{otherwise} \\end{cases}$$"),
    code(picture(), source="run.figure(fig)"),
    TEXT("## What came out: $p$ and more?\n\n### Table"),
    code(table(ARMS.style.hide(axis="index").format(precision=2, subset=["accuracy, %"]).background_gradient(subset=["accuracy, %"])
               .set_caption("Mean of 5 seeds."))),
    code(shows({"text/markdown": "It rose by **12.7** points, $p<0.05$."}), shows({"text/latex": r"$\displaystyle \frac{a}{b}$", "text/plain": "a/b"})),
    code(shows({"text/plain": "1/2 steps"}, progress=True), new_output("stream", name="stderr", text="a warning"),
         new_output("stream", name="stdout", text=" 50%|#\r100%|##\n\x1b[31marm 1 of 4\x1b[0m\n")),
    code(shows({"text/plain": "never"}), source="no_cell = 1", tags=["remove-cell"]),
    code(shows({"text/plain": "never"}), source="no_explorer = 1", tags=["explorer"]),
    code(shows({"text/plain": "shown alone"}), source="no_input = 1", tags=["remove-input"]),
    code(shows({"text/plain": "never"}), source="no_output = 1", tags=["remove-output"]),
    code(new_output("error", ename="ValueError", evalue="T=1", traceback=["\x1b[31mValueError\x1b[0m: T=1 < 2"])),
]
APPENDIX = [TEXT("# More words\n\n## Details\n\n```python\n# a comment\n```\n\n### Table\n\n#### Deep\n\n| step | n |\n|---|---|\n| 1 | 20 |\n"), TEXT("The end.")]


def write(folder, name, cells, **metadata):
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "p"}} | metadata), folder / name)
    return folder / name


def make(folder, *cells, **metadata):
    """The page of a notebook with these cells, after a title."""
    html = write_html([write(folder, "x.ipynb", [TEXT("# T"), *cells], **metadata)], folder / "x.html")
    return BeautifulSoup(html.read_text(encoding="utf-8"), "html.parser")


def pdf_text(pdf):
    return "\n".join(page.extract_text() for page in pypdf.PdfReader(pdf).pages).replace("\u00a0", " ")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    html = write_html([write(folder, "a.ipynb", ARTICLE), write(folder, "b.ipynb", APPENDIX)], folder / "out" / "report.html")
    return html


@pytest.fixture(scope="module")
def page(file):
    return BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(scope="module")
def main(page):
    return page.main.get_text()


# ---------------------------------------------------------------- the page
def test_the_title_is_the_articles_heading(page):
    assert page.title.get_text() == "A small report" and [h.get_text() for h in page.select("h1")] == ["A small report"]


def test_a_given_title_names_the_tab_and_stands_in_for_a_missing_heading(tmp_path):
    html = write_html([write(tmp_path, "x.ipynb", [TEXT("No heading.")])], tmp_path / "x.html", title="Digits")
    page = BeautifulSoup(html.read_text(encoding="utf-8"), "html.parser")
    assert page.title.get_text() == page.h1.get_text() == "Digits"


def test_byline_and_abstract_follow_the_title(page):
    opening = [page.h1, *page.h1.find_next_siblings()][:3]
    assert [e.get("class") for e in opening] == [None, ["byline"], ["abstract"]]
    assert len(page.select("blockquote")) == 2


def test_a_list_of_numbers_in_the_opening_is_set_large(tmp_path):
    page = make(tmp_path, TEXT("- **+12.7** points\n- **0.0** elsewhere\n\n## Body\n\n- **bold** word"))
    assert [len(ul.find_all("li")) for ul in page.select("ul.numbers")] == [2]


def test_figures_are_numbered_and_links_to_them_get_the_number(tmp_path):
    page = make(tmp_path, TEXT("See [figure](#fig-b), [Figure 9](#fig-a), [figure](#fig-none)."), code(picture(name="a")), code(picture(name="b")))
    assert [f["id"] for f in page.select("figure")] == ["fig-a", "fig-b"]
    assert [n.get_text() for n in page.select("figcaption .number")] == ["Figure 1.", "Figure 2."]
    assert page.p.get_text() == "See figure\u00a02, Figure\u00a01, figure." and len(page.p.find_all("a")) == 2


def test_a_figure_links_to_its_notebook_and_its_data(tmp_path):
    page = make(tmp_path, code(picture(links={"data": "data/train-a-loss.csv", "notebook": "runs/train-a.html"})))
    assert page.select_one("figure .links").get_text() == "notebook · data (CSV)"
    assert [a["href"] for a in page.select("figure a")] == ["runs/train-a.html", "data/train-a-loss.csv"]
    assert "Links to other files" in page.select_one(".note").get_text()


def test_a_figures_links_lead_nowhere_else(tmp_path):
    assert not make(tmp_path, code(picture(links={"data": "javascript:alert(1)"}))).select_one("figure a[href]")


def test_the_contents_lead_to_every_section(page):
    links = {unquote(a["href"][1:]): a.get_text() for a in page.select("nav a")}
    assert list(links.values()) == ["Formulas", "What came out: p and more?", "Appendix A: More words"]
    assert links == {h["id"]: "".join(t for t in h.strings if t.parent.name != "annotation") for h in page.select("main h2")}


def test_every_link_inside_the_page_has_a_target(page):
    inside = [unquote(a["href"][1:]) for a in page.select("a[href^='#']")]
    assert len(inside) == 5 and all(page.find(id=target) for target in inside)
    ids = [e["id"] for e in page.select("[id]")]
    assert len(ids) == len(set(ids))


def test_an_appendix_lies_one_level_down_and_its_code_stays(page):
    assert [h.name for h in page.select("details.appendix > *") if h.name[0] == "h"] == ["h3", "h4", "h5"]
    assert "# a comment" in page.select("main pre")[-1].get_text()


def test_formulas_are_mathml_with_their_tex_and_their_number(page):
    assert len(page.select("math")) == 9 == len(page.select("math annotation[encoding='application/x-tex']"))
    assert [t.get_text() for t in page.select(".equation .tag")] == ["(Ho et al. eq. 4)", "(Ho et al. eq. 14)"]
    assert len(page.select("math mtable")) == 2                         # aligned and cases; an equation is no table
    for text in page.main.strings:
        assert text.parent.name == "annotation" or "$" not in text


def test_figures_have_alt_text_caption_and_size(page):
    image = page.select_one("figure img")
    assert image["alt"] == ALT and (image["width"], image["height"]) == ("600", "200")
    assert page.figcaption.math and page.figcaption.get_text().startswith("Figure 1. Blue wins.")


def test_tables_keep_their_numbers_and_lose_their_looks(page):
    styled, plain = page.select("main table")
    assert [[c.get_text() for c in r.find_all(["th", "td"])] for r in styled.find_all("tr")] == [
        ["arm", "accuracy, %", "gain"], ["real", "64.70", ""], ["real + synthetic", "77.40", "12.70 ± 0.40"]]
    assert styled.caption.get_text() == "Table 1. Mean of 5 seeds."
    assert [c.get("style") for c in styled.find_all("tr")[1].find_all("td")] == [None, "text-align: right", "text-align: right"]
    assert not page.select("main style, main td[class], main td[id]")


def test_a_table_can_be_stacked_on_a_phone(page):
    styled = page.select_one("main table")
    assert styled.parent["class"] == ["table", "stack"]
    assert [td["data-label"] for td in styled.tbody.tr.find_all("td")] == ["arm", "accuracy, %", "gain"]


@pytest.mark.parametrize("text", ["64.7 % (63.1 to 66.4)", "+20.7 (17.9 to 23.5)", "p < 0.001", "−4.5", "12.7 ± 0.4", "4.0e-05"])
def test_a_measured_value_is_a_number(text):
    assert NUMBER.fullmatch(text)


def test_a_number_in_a_table_has_a_real_minus_sign(tmp_path):
    page = make(tmp_path, code(table(pd.DataFrame({"gain": ["-4.5 (-5.9 to -3.1)"], "date": ["2026-11-23"]}))))
    assert [td.get_text() for td in page.select("tbody td")] == ["−4.5 (−5.9 to −3.1)", "2026-11-23"]


def test_the_name_of_an_index_stands_in_the_row_of_the_columns(tmp_path):
    page = make(tmp_path, code(table(pd.DataFrame({"gain": [1]}, index=pd.Index(["real"], name="arm")))))
    assert [[c.get_text() for c in row.find_all(["th", "td"])] for row in page.select("thead tr")] == [["arm", "gain"]]


def test_numbers_of_a_table_with_several_index_levels_stand_right(tmp_path):
    index = pd.MultiIndex.from_product([["mlp", "cnn"], ["real", "mixed"]])
    page = make(tmp_path, code(table(pd.DataFrame({"accuracy": [44.0, 46.5, 60.1, 61.2]}, index=index))))
    assert all(td["style"] == "text-align: right" for td in page.select("tbody td")) and not page.select("tbody th[style]")


def test_markdown_and_latex_results_appear(page, main):
    assert "It rose by 12.7 points" in main and page.find("annotation", string=re.compile(r"\\frac\{a\}\{b\}"))


def test_units_stay_with_their_numbers(page):
    assert [held.get_text() for held in page.select(".held")] == ["77.4 %", "12.70 ± 0.40"]
    assert "says 77.4 %." in page.select_one(".abstract").get_text()


def test_defaults_progress_warnings_and_hidden_cells_are_left_out(main):
    assert not any(w in main for w in ("default_seed", "1/2 steps", "a warning", "no_cell", "no_explorer", "no_input", "never", "50%", "\x1b"))
    assert all(w in main for w in ("100%|##\narm 1 of 4", "shown alone"))


def test_an_article_shows_no_code(page):
    assert not page.select("main details:not(.appendix)") and "run.figure(fig)" not in page.main.get_text()


def test_a_runs_page_shows_its_code_and_folds_its_parameters(tmp_path):
    html = write_html([write(tmp_path, "x.ipynb", ARTICLE)], tmp_path / "x.html", run=True, up="../report.html")
    page = BeautifulSoup(html.read_text(encoding="utf-8"), "html.parser")
    assert "run.figure(fig)" in page.main.get_text() and "seed = 7" in page.main.details.get_text()
    assert page.select_one(".up a")["href"] == "../report.html"


def test_a_failed_cell_says_so(page):
    assert page.select_one(".error").get_text() == "This cell ended with ValueError.ValueError: T=1 < 2"


def test_the_page_asks_no_host_for_anything(page, file):
    assert not page.select("script, link, iframe, object, embed, img:not([src^='data:image/png;base64,'])")
    policy = page.select_one("meta[http-equiv=Content-Security-Policy]")["content"]
    assert policy.startswith("default-src 'none'") and "script" not in policy and "http" not in policy
    raw = file.read_text(encoding="utf-8")
    assert not re.search(r"url\((?!data:)", raw) and "@import" not in raw
    addresses = [u for u in re.findall(r"https?://[^\s\"'<)]+", raw) if u != "http://www.w3.org/1998/Math/MathML"]
    assert addresses == ["https://arxiv.org/abs/2006.11239"]                # a link that a reader may click


def test_light_dark_and_print_have_their_styles(page):
    style = page.style.get_text()
    assert "prefers-color-scheme: dark" in style and "@media print" in style and "data:font/woff2;base64," in style


def test_the_embedded_font_comes_with_its_licence():
    licence = (TEMPLATE / "OFL.txt").read_text(encoding="utf-8")
    assert "The STIX Fonts Project Authors" in licence and "SIL OPEN FONT LICENSE Version 1.1" in licence and "DISCLAIMER" in licence
    assert (TEMPLATE / "stix-two-math-subset.woff2").read_bytes()[:4] == b"wOF2"


def test_a_widget_is_replaced_by_the_figure_that_it_showed(tmp_path):
    state = {"box": {"model_name": "VBoxModel", "state": {"children": ["IPY_MODEL_slider", "IPY_MODEL_out"]}},
             "slider": {"model_name": "FloatSliderModel", "state": {}},
             "out": {"model_name": "OutputModel", "state": {"outputs": [dict(picture(alt="As last shown."))]}}}
    page = make(tmp_path, code(shows({WIDGET_VIEW: {"model_id": "box"}, "text/plain": "VBox()"})), widgets={WIDGET_STATE: {"state": state}})
    assert page.select_one("figure img")["alt"] == "As last shown." and "VBox()" not in page.get_text()


@pytest.mark.parametrize("kind, content", [("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><rect width='9' height='9'/></svg>"),
                                           ("image/jpeg", None)])
def test_vector_and_jpeg_figures_are_kept(tmp_path, kind, content):
    if content is None:
        file = io.BytesIO()
        Image.new("RGB", (9, 9)).save(file, "JPEG")
        content = base64.b64encode(file.getvalue()).decode()
    page = make(tmp_path, code(shows({kind: content, "text/plain": "?"}, **{kind: {"alt": "A square."}})))
    assert page.img["src"].startswith(f"data:{kind};base64,") and page.img["alt"] == "A square."
    assert pypdf.PdfReader(write_pdf(tmp_path / "x.html", tmp_path / "x.pdf")).pages


# ---------------------------------------------------------------- what must not get in
HOSTILE = [
    {"text/html": "<p onclick='alert(1)' OnMouseOver=alert(1)>a</p><script>alert(1)</script><iframe src='https://example.org'></iframe>"},
    {"text/html": "<a href='javascript:alert(1)'>a</a><a href=' java\tscript:alert(1)'>a</a><img src='https://example.org/a.png' alt='a'>"},
    {"text/html": "<object data='a.swf'></object><link rel='stylesheet' href='a.css'><meta http-equiv='refresh' content='0;url=https://example.org'>"},
    {"text/html": "<p style='background: url(https://example.org/a.png)'>a</p><p style='background: \\75rl(//example.org)'>a</p>"},
    {"text/html": "<form action='https://example.org'><button>a</button></form><svg onload='alert(1)'><a xlink:href='javascript:alert(1)'>a</a></svg>"},
    {"text/html": "<img src='data:image/svg+xml,<svg onload=alert(1)>' alt='a'><img srcset='https://example.org/a.png' src='' alt='a'>"},
    {"text/html": "<!--[if IE]><script>alert(1)</script><![endif]--><math><mi xlink:href='javascript:alert(1)'>a</mi></math>"},
    {"text/vnd.mermaid": "graph <script>alert(1)</script>"},
    {"application/javascript": "alert(1)"},
    {"text/markdown": "<script>alert(1)</script><img src=x onerror=alert(1) alt=a> [a](javascript:alert(1)) ![a](https://example.org/a.png)"},
    {"text/plain": "<script>alert(1)</script><img src=x> #panic() $x$"},
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_output_can_run_or_load_anything(tmp_path, hostile):
    page = make(tmp_path, code(shows(hostile)), TEXT("The end."))
    assert not page.select("script, iframe, object, link, form, button, svg, img, main meta, main style")
    for element in page.main.find_all(True):
        assert not [name for name, value in element.attrs.items()
                    if name.lower().startswith(("on", "src")) or re.search("script:|url|example", str(value).replace("\t", ""))]
    assert page.main.get_text().strip().endswith("The end.")


def test_hostile_outputs_are_words_in_the_pdf_too(tmp_path):
    make(tmp_path, *(code(shows(hostile)) for hostile in HOSTILE), TEXT("The end."))
    text = pdf_text(write_pdf(tmp_path / "x.html", tmp_path / "x.pdf"))
    assert "#panic()" in text and "The end." in text


@pytest.mark.parametrize("where", ["caption", "alt", "stdout", "title", "error"])
def test_words_of_a_run_are_words_on_the_page(tmp_path, where):
    evil = "<script>alert(1)</script>\"><b onclick='alert(1)'>"
    cells = {"caption": code(picture(caption=evil)), "alt": code(picture(alt=evil)), "title": TEXT("# " + evil.replace("<", "&lt;")),
             "stdout": code(new_output("stream", name="stdout", text=evil)),
             "error": code(new_output("error", ename=evil, evalue=evil, traceback=[evil]))}
    page = make(tmp_path, cells[where])
    assert not page.select("script, [onclick]")


def test_an_open_tag_does_not_swallow_the_next_cell(tmp_path):
    page = make(tmp_path, code(shows({"text/html": "</main><div><title><style>p {"})), TEXT("<div><!-- \n\nwords"), TEXT("## The end"))
    assert page.select_one("main > h2").get_text() == "The end"


# ---------------------------------------------------------------- what is refused
@pytest.mark.parametrize("formula, named", [
    (r"$\frac{1}$", r"the formula '\\\\frac\{1\}' cannot be typeset: Expected argument"),
    (r"$$a_b_c$$", "the formula 'a_b_c' cannot be typeset: Duplicate subscript"),
    (r"$$a \tag{1} \tag{2}$$", "cannot be typeset"),
    (r"$a = \ref{b}$", "a page has no target")])
def test_a_formula_that_cannot_be_typeset_is_named_and_the_old_page_stays(tmp_path, formula, named):
    make(tmp_path, TEXT("old"))
    with pytest.raises(ValueError, match=named):
        make(tmp_path, TEXT(formula))
    assert "old" in (tmp_path / "x.html").read_text(encoding="utf-8")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.html", "x.ipynb"]


def test_a_figure_without_alt_text_is_refused_with_its_cell(tmp_path):
    with pytest.raises(ValueError, match=r"x\.ipynb, cell 3: an image has no alt text"):
        make(tmp_path, TEXT("words"), code(picture(alt=" ")))
    assert not (tmp_path / "x.html").exists()


def test_a_markdown_image_without_alt_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match="an image in Markdown or HTML has no alt text"):
        make(tmp_path, TEXT("![](a.png)"))


# ---------------------------------------------------------------- what a student writes stops no page
def run_page(folder, *cells):
    html = write_html([write(folder, "x.ipynb", [TEXT("# T"), *cells])], folder / "x.html", run=True)
    return BeautifulSoup(html.read_text(encoding="utf-8"), "html.parser").main


def test_a_students_formula_that_cannot_be_typeset_is_shown_as_tex(tmp_path):
    main = run_page(tmp_path, TEXT(r"$$a \label{x} = \ref{x}$$"))
    assert main.code.get_text() == r"a  = \ref{x}" and "not typeset" in main.get_text()


def test_a_students_picture_without_alt_text_says_where_it_stands(tmp_path):
    assert run_page(tmp_path, code(picture(alt=""))).img["alt"] == "x.ipynb, cell 2: an image without description"


def test_a_label_in_a_formula_is_no_error(tmp_path):
    assert make(tmp_path, TEXT(r"$$a = b \label{eq:a}$$")).math


@pytest.mark.parametrize("target", ["my%20pic%E4.png", "attachment:x%20y.png", "%"])
def test_an_image_that_is_not_there_leaves_its_alt_text(tmp_path, target):
    assert "a cat" in make(tmp_path, TEXT(f"![a cat]({target})")).main.get_text()


LARGE = {"digits": TEXT("1" * 200_000), "dollars": TEXT("$ " * 100_000), "brackets": TEXT("[" * 200_000),
         "a printed line": code(new_output("stream", name="stdout", text="1" * 200_000)),
         "a line of code": code(source="x = '" + "a" * 200_000 + "'"),
         "a formula": code(shows({"text/latex": "$" + "x+" * 100_000 + "x$"})), "a nested formula": TEXT("$" + r"\sqrt " * 3000 + "x$"),
         "one word of HTML": code(shows({"text/html": "<p>" + "1.2" * 70_000 + "</p>"})),
         "nested elements": code(shows({"text/html": "<blockquote>" * 3000 + "x"})),
         "a wide cell": code(shows({"text/html": "<table><tr><td colspan=999999999>x</td></tr></table>"}))}


@pytest.mark.parametrize("cell", LARGE.values(), ids=LARGE)
def test_what_is_too_large_for_a_page_takes_seconds_at_most(tmp_path, cell):
    start = time.process_time()
    run_page(tmp_path, cell)
    write_pdf(tmp_path / "x.html", tmp_path / "x.pdf")
    assert time.process_time() - start < 12                     # without limits: minutes, or an error


def test_a_page_tells_no_folder_of_this_machine(tmp_path):
    warning = f"{ROOT}/lib/x.py:3: UserWarning: old\n/tmp/ipykernel_1/2.py:1: UserWarning\n"
    main = run_page(tmp_path, code(new_output("stream", name="stdout", text=warning), source="data_dir = '/data/me/cifar'"),
                    code(new_output("error", ename="E", evalue="x", traceback=[f"File {Path.home()}/x.py"])),
                    code(shows({"text/plain": f"{Path.home()}/course/x"})))
    text = main.get_text()
    assert "…/lib/x.py:3: UserWarning: old" in text and "…/cifar" in text
    assert not any(place in text for place in (str(ROOT), f"{Path.home()}/", "/tmp/", "/data/me"))
