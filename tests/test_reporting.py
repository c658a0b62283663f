import base64
import io
import re

import nbformat
import pypdf
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from lib.reporting import WIDGET_STATE, WIDGET_VIEW, write_html, write_pdf


def png(size=(600, 200), colour=(0, 114, 178)):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def picture(alt="A blue field.", caption=r"Blue, $\bar\alpha_t$."):
    return new_output("display_data", {"image/png": png(), "text/plain": alt},
                      metadata={"image/png": {"alt": alt, "caption": caption, "width": 600, "height": 200}})


def cell(*outputs, source="x = 1", tags=()):
    return new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)}, execution_count=1)


def html_output(text):
    return new_output("display_data", {"text/html": text, "text/plain": "table"})


ARTICLE = [
    new_markdown_cell("# A small report\n\n> The summary says 77.4 %.\n\nSome words, $x_t$, and a [link](https://arxiv.org/abs/2006.11239)."),
    cell(source="secret_default = 1", tags=["parameters"]),
    cell(source="# Parameters\nT = 7", tags=["injected-parameters"]),
    new_markdown_cell("## Formulas\n\n$$q(x_t \\mid x_0) = \\mathcal{N}\\!\\left(x_t;\\ \\sqrt{\\bar\\alpha_t}\\,x_0,\\ "
                      "(1-\\bar\\alpha_t) I\\right) \\tag{Ho et al. eq. 4}$$\n\n"
                      "$$\\begin{aligned} a &= \\lVert b \\rVert^2 \\\\ c &= \\mathbb{E}_t[d] \\end{aligned}$$"),
    cell(picture()),
    new_markdown_cell("## Results\n\n### Table"),
    cell(html_output('<style>#T_1 {color: red}</style><table border="1" class="dataframe"><thead><tr><th>arm</th><th>accuracy</th>'
                     "</tr></thead><tbody><tr><td>real</td><td>64.70</td></tr></tbody></table>")),
    cell(new_output("display_data", {"text/markdown": "It rose by **12.7** points, $p<0.05$."})),
    cell(new_output("display_data", {"text/plain": "1/2 steps"}, metadata={"progress": True}),
         new_output("stream", name="stderr", text="a warning"), new_output("stream", name="stdout", text="arm 1 of 4")),
    cell(html_output("hidden"), source="hidden = 1", tags=["remove-cell"]),
]
APPENDIX = [new_markdown_cell("# More words\n\n## Details\n\nThe end.")]


def write(folder, name, cells, **metadata):
    nb = new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "p"}} | metadata)
    nbformat.write(nb, folder / name)
    return folder / name


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    html = write_html([write(folder, "a.ipynb", ARTICLE), write(folder, "b.ipynb", APPENDIX)], folder / "out" / "report.html")
    return html, write_pdf(html, html.with_suffix(".pdf"))


@pytest.fixture(scope="module")
def page(files):
    return BeautifulSoup(files[0].read_text(encoding="utf-8"), "html.parser")


def test_the_title_is_the_articles_heading(page):
    assert page.title.get_text() == "A small report" and len(page.select("h1")) == 1


def test_the_contents_lead_to_every_section(page):
    links = {a["href"][1:]: a.get_text() for a in page.select("nav a")}
    assert links == {h["id"]: h.get_text() for h in page.select("main h2, main h3")}
    assert list(links.values()) == ["Formulas", "Results", "Table", "Appendix A: More words", "Details"]


def test_formulas_are_mathml_and_carry_their_number(page):
    assert len(page.select("math")) == 5
    assert page.select_one(".equation .tag").get_text() == "(Ho et al. eq. 4)"
    assert "$" not in page.select_one("main").get_text().replace("\\$", "")


def test_figures_have_alt_text_caption_and_size(page):
    image = page.select_one("figure img")
    assert image["alt"] == "A blue field." and image["width"] == "600"
    assert page.select_one("figcaption math")


def test_tables_and_markdown_results_appear(page):
    assert page.select_one("table td:nth-of-type(2)").get_text() == "64.70" and not page.select("table[border]")
    assert "12.7" in page.select_one("main").get_text()


def test_defaults_progress_and_warnings_are_left_out_and_code_is_folded(page):
    text = page.get_text()
    assert not any(w in text for w in ("secret_default", "T = 7", "hidden", "1/2 steps", "a warning"))
    assert "arm 1 of 4" in text
    assert all(block.find_parent("details") or "stream" in block.get("class", []) for block in page.select("main pre"))


def test_the_page_asks_no_host_for_anything(page, files):
    assert not page.select("script, link, iframe, object, embed, img[src^=http]")
    policy = page.select_one("meta[http-equiv=Content-Security-Policy]")["content"]
    assert policy.startswith("default-src 'none'") and "script" not in policy and "http" not in policy
    raw = files[0].read_text(encoding="utf-8")
    assert not re.search(r"url\((?!data:)", raw) and "@import" not in raw
    loads = [u for u in re.findall(r"https?://[^\s\"'<)]+", raw) if "w3.org" not in u]
    assert loads == ["https://arxiv.org/abs/2006.11239"]                    # a link that a reader may click


def test_light_dark_and_print_have_their_styles(page):
    style = page.style.get_text()
    assert "prefers-color-scheme: dark" in style and "@media print" in style


def test_the_pdf_holds_the_same_title_numbers_and_captions(files):
    reader = pypdf.PdfReader(files[1])
    text = "\n".join(p.extract_text() for p in reader.pages)
    assert reader.metadata.title == "A small report"
    for words in ("77.4", "64.70", "12.7", "Appendix A: More words", "Ho et al. eq. 4", "Blue", f"1 / {len(reader.pages)}"):
        assert words in text, words
    assert "x = 1" not in text
    assert sum(len(p.images) for p in reader.pages) == 1


def attempt(tmp_path, *cells, **metadata):
    return write_html([write(tmp_path, "x.ipynb", list(cells), **metadata)], tmp_path / "x.html")


def test_a_formula_that_cannot_be_typeset_is_named_and_no_page_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"the formula .*frac.* cannot be typeset"):
        attempt(tmp_path, new_markdown_cell(r"# T" "\n\n" r"$\frac{1}$"))
    assert not (tmp_path / "x.html").exists()


def test_a_figure_without_alt_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no alt text"):
        attempt(tmp_path, new_markdown_cell("# T"), cell(picture(alt="")))


@pytest.mark.parametrize("hostile", [
    {"text/html": "<p onclick='alert(1)'>a</p><script>alert(1)</script><iframe src='https://example.org'></iframe>"},
    {"text/html": "<a href='javascript:alert(1)'>a</a><img src='https://example.org/a.png' alt='a'>"},
    {"text/vnd.mermaid": "graph <script>alert(1)</script>"},
    {"application/javascript": "alert(1)"},
    {"text/markdown": "<script>alert(1)</script><img src=x onerror=alert(1)>"},
    {"image/svg+xml": "<svg onload='alert(1)'></svg>"},
    {"text/plain": "<script>alert(1)</script>"},
])
def test_no_output_can_run_or_load_anything(tmp_path, hostile):
    page = BeautifulSoup(attempt(tmp_path, new_markdown_cell("# T"), cell(new_output("display_data", hostile)))
                         .read_text(encoding="utf-8"), "html.parser")
    assert not page.select("script, iframe, svg, img[src^=http], img[src=x], [onclick], [onerror], [onload], a[href^=javascript]")


def test_a_widget_is_replaced_by_the_figure_that_it_showed(tmp_path):
    state = {"box": {"model_name": "VBoxModel", "state": {"children": ["IPY_MODEL_out"]}},
             "out": {"model_name": "OutputModel", "state": {"outputs": [dict(picture(alt="As last shown."))]}}}
    view = new_output("display_data", {WIDGET_VIEW: {"model_id": "box"}, "text/plain": "VBox()"})
    page = attempt(tmp_path, new_markdown_cell("# T"), cell(view), widgets={WIDGET_STATE: {"state": state}}).read_text()
    assert 'alt="As last shown."' in page and "VBox()" not in page
