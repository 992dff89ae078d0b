//! The kernel's taint as people write it: one letter a reason.
//!
//! Source: `taint_flags` in kernel/panic.c, Documentation/admin-guide/tainted-kernels.rst. Only bit 0 has a letter for
//! its absence (`G`), which says nothing here.

/// The letters of bits 0 and up.
const LETTERS: &str = "PFSRMBUDAWCIOELKXTNJ";

/// The letters of a mask, in the order of the bits; a bit that no kernel known here has is `#` and its number.
pub fn letters(mask: u64) -> String {
    let bits = (0..64).filter(|bit| mask >> bit & 1 == 1);
    bits.map(|bit| match LETTERS.chars().nth(bit) {
        Some(letter) => letter.to_string(),
        None => format!("#{bit}"),
    })
    .collect()
}

/// The bit of a letter.
pub fn bit(letter: &str) -> Option<u64> {
    let [letter] = letter.as_bytes() else { return None };
    LETTERS.bytes().position(|it| it == *letter).map(|bit| 1 << bit)
}

/// All letters with their reasons, for a message.
pub fn all() -> &'static str {
    "P (proprietary module), F (forced load), S (out of specification), R (forced unload), M (machine check), B (bad \
     page), U (user asked), D (died: oops or BUG), A (ACPI table), W (warning), C (staging), I (firmware), O \
     (out-of-tree module), E (unsigned module), L (soft lockup), K (live patch), X (distribution), T (struct \
     randomisation), N (test), J (fwctl)"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_letters_are_the_kernels() {
        // Of tainted-kernels.rst: 4096 is an out-of-tree module, 8192 an unsigned one, 512 a warning.
        assert_eq!(letters(4096 | 8192 | 512), "WOE");
        assert_eq!((letters(0), letters(1 << 40)), (String::new(), "#40".to_owned()));
        assert_eq!(bit("O"), Some(4096));
        assert_eq!((bit("G"), bit(""), bit("OE")), (None, None, None));
        for letter in LETTERS.chars() {
            assert!(all().contains(&format!("{letter} (")), "{letter} is not explained");
        }
    }
}
