//! Numbers of ioctl requests: plain, or as the kernel's headers write them.

use super::node::Node;
use super::reader::Reader;
use super::value::{parse_int, type_named};
use base::diagnostic::Diagnostic;

/// A number, or `_IO('k', 0)`, `_IOR('k', 1, u64)`, `_IOW(...)`, `_IOWR(...)`.
pub fn read(reader: &mut Reader<'_>, node: &Node) -> Option<u64> {
    let text = node.text().unwrap_or_default();
    match parse(text) {
        // The kernel takes an unsigned int (fs/ioctl.c).
        Some(request) if request <= u64::from(u32::MAX) => Some(request),
        None if text.contains('(') && !text.contains(')') => reader.error(
            Diagnostic::new(&node.span, "a comma ends a text that stands in `{}` or `[]` without quotes")
                .help("put the request into quotes: `\"_IOR('k', 1, u64)\"`"),
        ),
        _ => reader.expected(
            node,
            "an ioctl request, a number or the header's `_IOR('k', 1, u64)` (also `_IO`, `_IOW`, `_IOWR`)",
        ),
    }
}

fn parse(text: &str) -> Option<u64> {
    if let Some(number) = parse_int(text) {
        return u64::try_from(number).ok();
    }
    let (macro_name, rest) = text.split_once('(')?;
    let parts: Vec<&str> = rest.strip_suffix(')')?.split(',').map(str::trim).collect();
    // include/uapi/asm-generic/ioctl.h: 8 bits number, 8 bits type, 14 bits size, 2 bits direction.
    let direction = match macro_name.trim() {
        "_IO" => 0,
        "_IOW" => 1,
        "_IOR" => 2,
        "_IOWR" => 3,
        _ => return None,
    };
    let (kind, number, size) = match parts[..] {
        [kind, number] if direction == 0 => (kind, number, 0),
        [kind, number, size] if direction != 0 => (kind, number, size_of(size)?),
        _ => return None,
    };
    let kind = match kind.strip_prefix('\'').and_then(|kind| kind.strip_suffix('\'')) {
        Some(letter) if letter.len() == 1 => u64::from(letter.as_bytes()[0]),
        Some(_) => return None,
        None => field(kind, 8)?,
    };
    Some(direction << 30 | size << 16 | kind << 8 | field(number, 8)?)
}

/// In bytes.
const POINTER: u64 = 8;

fn size_of(text: &str) -> Option<u64> {
    if text.ends_with('*') {
        return Some(POINTER);
    }
    match type_named(text) {
        Some(int) => Some(int.size.into()),
        None => field(text, 14),
    }
}

fn field(text: &str, bits: u32) -> Option<u64> {
    u64::try_from(parse_int(text)?).ok().filter(|value| value >> bits == 0)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn requests_come_out_as_the_header_makes_them() {
        // As printed by a C program with <sys/ioctl.h>.
        assert_eq!(parse("_IO('k', 2)"), Some(0x6b02));
        assert_eq!(parse("_IOR('k', 1, u64)"), Some(0x8008_6b01));
        assert_eq!(parse("_IOW(0x6b, 3, int)"), Some(0x4004_6b03));
        assert_eq!(parse("_IOWR('k', 4, 16)"), Some(0xc010_6b04));
        assert_eq!(parse("_IOW('k', 3, int *)"), Some(0x4008_6b03));
        for four in ["__u32", "uint32_t", "unsigned int", "unsigned"] {
            assert_eq!(parse(&format!("_IOW('k', 3, {four})")), Some(0x4004_6b03), "{four}");
        }
        assert_eq!(parse("0x5401"), Some(0x5401));
    }

    #[test]
    fn what_no_header_would_take_is_refused() {
        for wrong in [
            "",
            "_IOR('k', 1)",
            "_IO('k', 1, 4)",
            "_IOR('kk', 1, 4)",
            "_IOR('k', 256, 4)",
            "_IOX('k', 1)",
            "_IO('k', 1",
            "-1",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
