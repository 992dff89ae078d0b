//! Bytes of a guest, as a report shows them.

use base::text::escape;

/// Longer texts are cut here, in characters.
pub const TEXT: usize = 40;

/// Bytes as a quoted, cut, harmless text.
pub fn quote(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let head: String = text.chars().take(TEXT).collect();
    let more = if head.len() < text.len() { "..." } else { "" };
    format!("\"{}\"{more}", escape(&head).replace('"', "\\\""))
}
