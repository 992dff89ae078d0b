//! Pages in Markdown. What students and kernels say can't become markup.

use super::page::Block;

/// Writes a page.
pub fn render(page: &[Block]) -> String {
    let mut text = String::new();
    for block in page {
        match block {
            Block::Heading(level, title) => {
                text += &format!("{} {}\n\n", "#".repeat(usize::from(*level)), escape(title));
            }
            Block::Text(words) => text += &format!("{}\n\n", escape(words)),
            Block::List(items) => {
                items.iter().for_each(|item| text += &format!("- {}\n", escape(item)));
                text += "\n";
            }
            Block::Table(heads, rows) => {
                text += &row(heads);
                text += &format!("|{}\n", "---|".repeat(heads.len()));
                rows.iter().for_each(|cells| text += &row(cells));
                text += "\n";
            }
            // Indented, nothing ends a block.
            Block::Quoted(words) => {
                words.lines().for_each(|line| text += &format!("    {}\n", base::text::escape(line)));
                text += "\n";
            }
        }
    }
    text
}

fn row(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| escape(cell)).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// One line of text, and nothing else.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '&' | '~' | '!' => {
                out.push('\\');
                out.push(c);
            }
            // Escaped for a terminal, and then for Markdown.
            c => out.push_str(&base::text::escape(c.encode_utf8(&mut [0; 4])).replace('\\', "\\\\")),
        }
    }
    out
}
