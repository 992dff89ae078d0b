//! An image with whatever paths, links and modes a scenario asks for: what was taken stands in the archive as it was given,
//! and nothing else.

#![no_main]

use fuzz::Input;
use initramfs::{Initramfs, NodeKind};
use libfuzzer_sys::fuzz_target;

/// A path, or what somebody takes for one.
fn text(input: &mut Input<'_>) -> String {
    let length = usize::from(input.u8());
    String::from_utf8_lossy(input.bytes(length)).into_owned()
}

/// The names in an archive (Documentation/driver-api/early-userspace/buffer-format.rst): each header is 110 bytes, with
/// the sizes of the content and of the name at 54 and 94, in hexadecimal.
fn names(archive: &[u8]) -> Vec<String> {
    let number = |at: usize| {
        let digits = std::str::from_utf8(&archive[at..at + 8]).expect("digits");
        usize::from_str_radix(digits, 16).expect("digits")
    };
    let (mut at, mut names) = (0, Vec::new());
    loop {
        assert_eq!(&archive[at..at + 6], b"070701");
        let (content, name) = (number(at + 54), number(at + 94));
        let end = at + 110 + name;
        let text = String::from_utf8(archive[at + 110..end - 1].to_vec()).expect("a name is text");
        assert!(archive[end - 1] == 0 && !text.contains('\0'), "a name has its end at its end");
        if text == "TRAILER!!!" {
            return names;
        }
        names.push(text);
        at = end.next_multiple_of(4) + content.next_multiple_of(4);
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut image = Initramfs::new();
    let mut taken = Vec::new();
    while !input.is_empty() {
        let (what, path, mode) = (input.u8() % 4, text(&mut input), u32::from(input.u16()));
        let done = match what {
            0 => image.dir(&path, mode),
            1 => {
                let length = usize::from(input.u8());
                image.file(&path, mode, input.bytes(length))
            }
            2 => image.symlink(&path, &text(&mut input)),
            _ => image.node(&path, mode, NodeKind::Char, input.u32(), input.u32()),
        };
        match done {
            Ok(_) => taken.push(path),
            Err(error) => assert!(!error.to_string().is_empty(), "an error without a word"),
        }
    }
    let names = names(&image.into_bytes());
    for path in taken {
        let plain = path.trim_matches('/');
        assert!(plain.is_empty() || names.iter().any(|name| name == plain), "{path} is not among {names:?}");
    }
    assert!(!names.iter().any(|name| name.starts_with('/') || name.split('/').any(|part| part == "..")));
});
