//! A document as a self-contained HTML page: no scripts, no fonts and no connections; dark and light.
//!
//! Text of a log may contain anything: the markup is escaped, and [`printable`] shows characters that would change the
//! reading order.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use runlog_model::printable::printable;

use super::document::{Block, Document, Span, Tone};
use super::plot;

/// The style of a page. Colours have a contrast of 4.5 to 1 in both schemes.
const STYLE: &str = "\
:root{color-scheme:light dark;--back:#fff;--fore:#1c1e21;--faint:#5c6370;--line:#d9dce1;--good:#1a7f37;--warning:#8a5a00;\
--bad:#c4231c;--other:#8a929e;--info:#4878b0;--debug:#a9b4c2}\
@media(prefers-color-scheme:dark){:root{--back:#16181c;--fore:#e4e6ea;--faint:#9aa3b0;--line:#33373e;--good:#56c271;\
--warning:#e0a63a;--bad:#ff7b72;--other:#8a929e;--info:#7aa7dc;--debug:#55606e}}\
*{box-sizing:border-box}body{margin:0 auto;padding:1.5rem;max-width:75rem;background:var(--back);color:var(--fore);\
font:15px/1.5 system-ui,sans-serif}h1{font-size:1.4rem;margin:0 0 .5rem}h2{font-size:1.1rem;margin:1.8rem 0 .4rem}\
p,ul{margin:.3rem 0}a{color:var(--info)}ul{list-style:none;padding:0}li{overflow-wrap:anywhere}.scroll{overflow-x:auto}\
table{border-collapse:collapse;width:100%}th{text-align:left;color:var(--faint);font-weight:600}\
th,td{padding:.25rem .8rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top}\
th{white-space:nowrap}td:last-child{overflow-wrap:anywhere;min-width:16rem}\
.right{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}.strong{font-weight:600}\
.faint{color:var(--faint)}.good{color:var(--good)}.warning{color:var(--warning)}.bad{color:var(--bad)}\
svg{display:block;width:100%;height:auto;margin:.5rem 0}svg text{fill:var(--faint);font:11px system-ui,sans-serif}\
.axis{stroke:var(--line)}.fill-good{fill:var(--good)}.fill-bad{fill:var(--bad)}.fill-warning{fill:var(--warning)}\
.fill-plain{fill:var(--info)}.fill-faint{fill:var(--other)}.fill-debug{fill:var(--debug)}\
footer{margin-top:2rem;color:var(--faint);font-size:.85rem}";

/// Returns a document as an HTML page.
pub(crate) fn page(document: &Document) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (printable(&document.title)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { bdi { (printable(&document.title)) } }
                    @if let Some(page) = &document.page { p { a href=(page) { "Open in Runlog" } } "\n" }
                    @for block in &document.blocks { (block_of(block)) "\n" }
                }
                footer { "Made by Runlog " (env!("CARGO_PKG_VERSION")) }
            }
        }
    };
    page.into_string()
}

fn block_of(block: &Block) -> Markup {
    html! {
        @match block {
            Block::Heading(text) => h2 { bdi { (printable(text)) } },
            Block::Line(spans) => p { (all_of(spans)) },
            Block::List(items) => ul {
                @for (depth, spans) in items {
                    li style={ "padding-left:" (depth * 2) "rem" } { (all_of(spans)) }
                }
            },
            Block::Table { head, right, rows } => (table(head, right, rows)),
            Block::Timeline(timeline) => (plot::timeline(timeline)),
            Block::Bars { name, bars } => (plot::bars(name, bars)),
            Block::Strip(marks) => (plot::strip(marks)),
        }
    }
}

fn table(head: &[&str], right: &[usize], rows: &[Vec<Span>]) -> Markup {
    html! {
        div.scroll tabindex="0" {
            table {
                thead {
                    tr { @for (column, name) in head.iter().enumerate() { th.right[right.contains(&column)] scope="col" { (name) } } }
                }
                tbody {
                    @for row in rows {
                        tr { @for (column, span) in row.iter().enumerate() { td.right[right.contains(&column)] { (span_of(span)) } } }
                    }
                }
            }
        }
    }
}

fn all_of(spans: &[Span]) -> Markup {
    html! { @for span in spans { (span_of(span)) } }
}

/// Right-to-left text must not affect the surrounding text, hence `bdi`.
fn span_of(span: &Span) -> Markup {
    let class = match span.tone {
        Tone::Plain => None,
        Tone::Strong => Some("strong"),
        Tone::Faint => Some("faint"),
        Tone::Good => Some("good"),
        Tone::Warning => Some("warning"),
        Tone::Bad => Some("bad"),
    };
    html! { bdi class=[class] { (printable(&span.text)) } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::document::plain;

    #[test]
    fn a_log_cannot_inject_html() {
        let mut document = Document::new("<script>alert(1)</script>");
        document.heading("a & b").line([plain("\"><img src=x onerror='x'>\u{1b}")]);
        let page = page(&document);
        assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("a &amp; b"), "{page}");
    }

    #[test]
    fn a_log_cannot_change_the_order_of_a_page() {
        let mut document = Document::new("run");
        document.line([plain("user \u{202e}nimda"), plain("שלום"), plain(" 3 records")]);
        let page = page(&document);
        assert!(page.contains("<bdi>user \\u{202e}nimda</bdi><bdi>שלום</bdi><bdi> 3 records</bdi>"), "{page}");
    }

    #[test]
    fn a_page_needs_nothing_else() {
        let page = page(&Document::new("run"));
        assert!(page.contains("default-src 'none'") && page.contains("prefers-color-scheme:dark"));
        for elsewhere in ["http://", "https://", "<link", "@import", "url("] {
            assert!(!page.contains(elsewhere), "{elsewhere}");
        }
    }
}
