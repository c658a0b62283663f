"""What the report's page and PDF hold, from notebooks whose outputs are put in by hand."""
import base64
import io
import re
from urllib.parse import unquote

import nbformat
import pandas as pd
import pypdf
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from lib.report.page import TEMPLATE, WIDGET_STATE, WIDGET_VIEW, write_html
from lib.report.pdf import write_pdf

ALT = 'A blue field, 6 × "2".'


def picture(alt=ALT, caption=r"**Figure 1.** Blue, $\bar\alpha_t$.", size=(600, 200)):
    file = io.BytesIO()
    Image.new("RGB", size, (0, 114, 178)).save(file, "PNG")
    words = {"alt": alt, "caption": caption, "width": size[0], "height": size[1]}
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
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    html = write_html([write(folder, "a.ipynb", ARTICLE), write(folder, "b.ipynb", APPENDIX)], folder / "out" / "report.html")
    return html, write_pdf(html, html.with_suffix(".pdf"))


@pytest.fixture(scope="module")
def page(files):
    return BeautifulSoup(files[0].read_text(encoding="utf-8"), "html.parser")


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


def test_subtitle_and_summary_follow_the_title_and_parameters_follow_them(page):
    opening = [page.h1, *page.h1.find_next_siblings()][:4]
    assert [e.get("class") for e in opening] == [None, ["subtitle"], ["summary"], ["code"]]
    assert opening[3].summary.get_text() == "Parameters of this run" and "seed = 7" in opening[3].get_text()
    assert len(page.select("blockquote")) == 2 and len(page.select(".summary")) == 1


def test_the_contents_lead_to_every_section(page):
    links = {unquote(a["href"][1:]): a.get_text() for a in page.select("nav a")}
    assert list(links.values()) == ["Formulas", "What came out: p and more?", "Table", "Appendix A: More words", "Details"]
    assert links == {h["id"]: "".join(t for t in h.strings if t.parent.name != "annotation") for h in page.select("main h2, main h3")}


def test_every_link_inside_the_page_has_a_target(page):
    inside = [unquote(a["href"][1:]) for a in page.select("a[href^='#']")]
    assert len(inside) == 7 and all(page.find(id=target) for target in inside)
    ids = [e["id"] for e in page.select("[id]")]
    assert len(ids) == len(set(ids))


def test_an_appendix_lies_one_level_down_and_its_code_stays(page):
    assert [h.name for h in page.select("h2.appendix ~ *") if h.name[0] == "h"] == ["h3", "h4", "h5"]
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
    assert page.figcaption.math and page.figcaption.strong.get_text() == "Figure 1."


def test_tables_keep_their_numbers_and_lose_their_looks(page):
    styled, plain = page.select("main table")
    assert [[c.get_text() for c in r.find_all(["th", "td"])] for r in styled.find_all("tr")] == [
        ["arm", "accuracy, %", "gain"], ["real", "64.70", ""], ["real + synthetic", "77.40", "12.70 ± 0.40"]]
    assert styled.caption.get_text() == "Mean of 5 seeds."
    attributes = [e.attrs for t in (styled, plain) for e in [t, *t.find_all(["tr", "th", "td"])] if e.attrs]
    assert all(a == {"style": "text-align: right"} for a in attributes) and len(attributes) == 3 * 2 + 2 * 2
    assert all(t.parent["class"] == ["table"] for t in (styled, plain)) and not page.select("main style")


def test_numbers_of_a_table_with_several_index_levels_stand_right(tmp_path):
    index = pd.MultiIndex.from_product([["mlp", "cnn"], ["real", "mixed"]])
    page = make(tmp_path, code(table(pd.DataFrame({"accuracy": [44.0, 46.5, 60.1, 61.2]}, index=index))))
    assert all(td["style"] == "text-align: right" for td in page.select("tbody td")) and not page.select("tbody th[style]")


def test_markdown_and_latex_results_appear(page, main):
    assert "It rose by 12.7 points" in main and page.find("annotation", string=re.compile(r"\\frac\{a\}\{b\}"))


def test_units_stay_with_their_numbers(page):
    assert [held.get_text() for held in page.select(".held")] == ["77.4 %", "12.70 ± 0.40"]
    assert "says 77.4 %." in page.select_one(".summary").get_text()


def test_defaults_progress_warnings_and_hidden_cells_are_left_out(main):
    assert not any(w in main for w in ("default_seed", "1/2 steps", "a warning", "no_cell", "no_explorer", "no_input", "never", "50%", "\x1b"))
    assert all(w in main for w in ("100%|##\narm 1 of 4", "shown alone", "no_output"))


def test_code_is_folded(page):
    assert page.select("main details.code pre") and not page.select("details[open]")
    assert not [pre for pre in page.select("main .highlight") if not pre.find_parent("details") and "a comment" not in pre.get_text()]


def test_a_failed_cell_says_so(page):
    assert page.select_one(".error").get_text() == "This cell ended with ValueError.ValueError: T=1 < 2"


def test_the_page_asks_no_host_for_anything(page, files):
    assert not page.select("script, link, iframe, object, embed, img:not([src^='data:image/png;base64,'])")
    policy = page.select_one("meta[http-equiv=Content-Security-Policy]")["content"]
    assert policy.startswith("default-src 'none'") and "script" not in policy and "http" not in policy
    raw = files[0].read_text(encoding="utf-8")
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
    (r"$a \tag{1}$", "cannot be typeset")])
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


def test_a_formula_that_only_the_pdf_cannot_set_is_named_and_no_pdf_is_written(tmp_path):
    make(tmp_path, TEXT(r"$\argmin_x$"))
    with pytest.raises(ValueError, match=r"(?s)PDF cannot be set.*\\argmin"):
        write_pdf(tmp_path / "x.html", tmp_path / "x.pdf")
    assert not (tmp_path / "x.pdf").exists()


# ---------------------------------------------------------------- the PDF
def test_the_pdf_has_the_same_title_words_numbers_and_captions(files):
    text = pdf_text(files[1])
    assert pypdf.PdfReader(files[1]).metadata.title == "A small report"
    for words in ("A small report", "Of two arms", "77.4 %", "64.70", "12.70 ± 0.40", "Mean of 5 seeds.", "12.7 points", "What came out", "Only a quotation",
                  "Appendix A: More words", "(Ho et al. eq. 4)", "(Ho et al. eq. 14)", "Figure 1. Blue", "arm 1 of 4", "ended with ValueError"):
        assert words in text, words


def test_the_pdf_leaves_the_code_out(files):
    assert not any(w in pdf_text(files[1]) for w in ("x = 1", "run.figure", "seed = 7", "Parameters of this run", "Code"))


def test_the_pdfs_pages_are_a4_and_numbered(files):
    pages = pypdf.PdfReader(files[1]).pages
    assert len(pages) > 1 and all((round(p.mediabox.width), round(p.mediabox.height)) == (595, 842) for p in pages)
    assert all(f"{n} / {len(pages)}" in p.extract_text() for n, p in enumerate(pages, 1))


def test_the_pdfs_outline_and_contents_name_its_sections(files):
    reader = pypdf.PdfReader(files[1])
    flat = lambda items: [w for i in items for w in (flat(i) if isinstance(i, list) else [i.title])]        # noqa: E731
    assert {"Formulas", "Table", "Appendix A: More words"} <= set(flat(reader.outline))
    assert reader.pages[0].extract_text().count("Formulas") == 2                                           # contents and heading


def test_the_pdfs_figures_keep_their_alt_text(files):
    reader = pypdf.PdfReader(files[1])
    assert sum(len(p.images) for p in reader.pages) == 1
    objects = [reader.get_object(n) for n in range(1, len(reader.xref_objStm) + len(reader.xref.get(0, {})))]
    assert ALT in [o.get("/Alt") for o in objects if isinstance(o, dict)]


def test_the_same_page_gives_the_same_pdf(files, tmp_path):
    assert write_pdf(files[0], tmp_path / "again.pdf").read_bytes() == files[1].read_bytes()


def test_a_wide_table_fits_the_page(tmp_path):
    wide = pd.DataFrame({f"accuracy of class {i}": [12.345, 6.789] for i in range(14)}, index=["real + synthetic", "real"])
    make(tmp_path, code(table(wide)))
    ends = []
    pdf = pypdf.PdfReader(write_pdf(tmp_path / "x.html", tmp_path / "x.pdf"))
    pdf.pages[0].extract_text(visitor_text=lambda text, cm, tm, font, size: ends.append(tm[4] + len(text.strip()) * 0.45 * (size or 0)))
    assert pdf_text(tmp_path / "x.pdf").count("12.345") == 14 and max(ends) < 595 - 60


def test_a_long_table_goes_on_with_its_head_on_the_next_page(tmp_path):
    make(tmp_path, code(table(pd.DataFrame({"accuracy": range(1000, 1060)}))))
    pages = pypdf.PdfReader(write_pdf(tmp_path / "x.html", tmp_path / "x.pdf")).pages
    assert len(pages) == 2 and all("accuracy" in p.extract_text() for p in pages) and "1059" in pages[1].extract_text()
