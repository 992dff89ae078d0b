//! Pages in HTML: one file each, with nothing from elsewhere, so that they can be read offline and handed on.

use super::page::Block;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Nothing is loaded and nothing runs, whatever a student managed to get in.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --good: #2a7d46; --bad: #b3372f; --odd: #a56a00; --quiet: #777; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin-top: 2rem } h3 { font-size: 1rem }
table { border-collapse: collapse; margin: 1rem 0 } .wide { overflow-x: auto }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .75rem; text-align: left; vertical-align: top }
pre { background: #8881; padding: .75rem; overflow-x: auto; border-radius: 4px; font-size: .85rem }
.all { color: var(--good) } .none { color: var(--bad) } .some { color: var(--odd) } .unknown { color: var(--quiet) }
.first { border-left: 4px solid var(--bad); padding-left: 1rem }
svg { max-width: 100%; height: auto } rect { fill: #4a78b5 } text { font: 11px system-ui, sans-serif; fill: currentColor }
";

/// A whole document.
pub fn document(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    };
    // What a person reads is in the order in which it stands: nothing of a student's or a guest's turns it round.
    base::text::escape_lines(&page.into_string())
}

/// A student's page.
pub fn page(title: &str, page: &[Block]) -> String {
    document(title, &html! { @for block in page { (one(block)) } })
}

fn one(block: &Block) -> Markup {
    html! {
        @match block {
            Block::Heading(1, title) => h1 { (title) },
            Block::Heading(2, title) => h2 { (title) },
            Block::Heading(_, title) => h3 { (title) },
            Block::Text(words) => p { (words) },
            Block::List(items) => ul { @for item in items { li { (item) } } },
            Block::Table(heads, rows) => div.wide { table {
                thead { tr { @for head in heads { th { (head) } } } }
                tbody { @for row in rows { tr { @for cell in row { td { (cell) } } } } }
            } },
            Block::Quoted(words) => pre { (words) },
        }
    }
}
