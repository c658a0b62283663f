"""What the report's PDF holds, from the notebooks of test_page."""
import pandas as pd
import pypdf
import pytest
from test_page import ALT, APPENDIX, ARTICLE, TEXT, code, make, pdf_text, picture, table, write

from lib.report.page import write_html
from lib.report.pdf import write_pdf


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pdf")
    html = write_html([write(folder, "a.ipynb", ARTICLE), write(folder, "b.ipynb", APPENDIX)], folder / "report.html")
    return html, write_pdf(html, html.with_suffix(".pdf"))


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
                  "Appendix A: More words", "(Ho et al. eq. 4)", "(Ho et al. eq. 14)", "Figure 1. Blue wins.", "arm 1 of 4", "ended with ValueError"):
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


def test_a_formula_of_an_appendix_that_the_pdf_cannot_set_is_shown_as_tex(tmp_path):
    html = write_html([write(tmp_path, "a.ipynb", [TEXT("# A")]), write(tmp_path, "b.ipynb", [TEXT("# B\n\n$\\argmin_x$")])], tmp_path / "x.html")
    assert "argmin" in pdf_text(write_pdf(html, tmp_path / "x.pdf"))


def test_a_letter_that_no_font_has_is_named(tmp_path):
    make(tmp_path, TEXT("a \U000e0fff b"))
    assert r"a \U000e0fff b" in pdf_text(write_pdf(tmp_path / "x.html", tmp_path / "x.pdf"))


def test_a_wide_formula_and_its_number_stay_apart_and_on_the_page(tmp_path):
    make(tmp_path, TEXT("$$" + " + ".join(f"x_{{{i}}}" for i in range(20, 60)) + " \\tag{eq. 5}$$"))
    places = {}
    page = pypdf.PdfReader(write_pdf(tmp_path / "x.html", tmp_path / "x.pdf")).pages[0]
    page.extract_text(visitor_text=lambda text, cm, tm, font, size: places.setdefault(text.strip(), tm[5] + cm[5]))
    assert any("eq. 5" in text for text in places)


def test_a_figure_stays_at_its_text_and_the_abstract_fills_the_first_page(tmp_path):
    tall, sentence = (778, 700), "A sentence about what the figure shows. "
    front = [code(picture(caption=f"No{i}.", size=(778, 480))) for i in range(3)]
    ours = [cell for i in range(3, 7) for cell in (TEXT(f"Words {i}. {sentence * 15}"), code(picture(caption=f"No{i}.", size=tall)))]
    cells = [*front, TEXT(f"> Abstract. {sentence * 10}"), TEXT("## One"), *ours]
    for number, cell in enumerate(cells):
        cell.id = str(number)
    make(tmp_path, *cells)
    pages = [p.extract_text() for p in pypdf.PdfReader(write_pdf(tmp_path / "x.html", tmp_path / "x.pdf")).pages]
    assert "Abstract." in pages[0] and "No2." in pages[1]                   # it does not wait for the figure before it
    told = "".join(pages)
    places = [told.index(words) for i in range(3, 7) for words in (f"Words {i}.", f"No{i}.")]
    assert places == sorted(places)
