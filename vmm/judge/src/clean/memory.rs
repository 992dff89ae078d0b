//! Whether memory of the kernel's was forgotten.

use crate::Failure;
use base::text::escape;
use std::collections::BTreeMap;

/// A cache counts what lies ready on a processor as used, so it is exact to some slabs. So many is no noise.
const SLABS: u64 = 2;

/// What kmemleak found after the steps or, where the kernel has none, caches that have grown; `line` is the
/// expectation's.
pub fn compare(leaks: &[u8], before: &[u8], after: &[u8], line: usize) -> Option<Failure> {
    let found = forgotten(&String::from_utf8_lossy(leaks));
    let (before, after) = (String::from_utf8_lossy(before), String::from_utf8_lossy(after));
    let (before, after) = (caches(&before), caches(&after));
    let (path, got) = match found.is_empty() {
        false => ("/sys/kernel/debug/kmemleak", found),
        // A kernel that told of its caches does so again.
        true if after.is_empty() && !before.is_empty() => {
            ("/proc/slabinfo", vec!["not known: it could not be read once more".to_owned()])
        }
        true => ("/proc/slabinfo", grown(&before, &after)),
    };
    (!got.is_empty()).then(|| Failure {
        what: format!("memory ({path})"),
        expected: "as before the first step".into(),
        got: got.join("; "),
        line,
    })
}

/// `unreferenced object 0x... (size 128):`, then lines about it, then the stack that allocated it.
fn forgotten(text: &str) -> Vec<String> {
    let mut sums: BTreeMap<(String, String), u64> = BTreeMap::new();
    for object in text.split("unreferenced object ").skip(1) {
        let size =
            object.split_once("(size ").and_then(|(_, rest)| rest.split_once(')')).map_or("?", |it| it.0);
        let stack = object.split_once("backtrace").map_or("", |(_, stack)| stack);
        let frames = stack.lines().skip(1).map(|line| line.trim().rsplit(">] ").next().unwrap_or_default());
        let frames: Vec<&str> = frames.filter(|frame| !frame.is_empty()).collect();
        let place = frames.iter().find(|frame| !splat::takes_for_others(frame)).or(frames.first()).copied();
        let place = match place {
            Some(frame) if frame.starts_with("0x") => "a module that is gone",
            Some(frame) => frame,
            None => "a place without a name",
        };
        *sums.entry((escape(place), escape(size))).or_default() += 1;
    }
    let one = |((place, size), count): (&(String, String), &u64)| match count {
        1 => format!("{size} bytes forgotten that {place} took"),
        _ => format!("{count} times {size} bytes forgotten that {place} took"),
    };
    sums.iter().map(one).collect()
}

/// By name, how many objects of a cache are in use, and how many a slab has. A line is `name active_objs num_objs objsize
/// objperslab ...` (mm/slab_common.c).
fn caches(text: &str) -> BTreeMap<&str, (u64, u64)> {
    let line = |line| -> Option<(&str, (u64, u64))> {
        let mut words = str::split_whitespace(line);
        let (name, active) = (words.next()?, words.next()?.parse().ok()?);
        Some((name, (active, words.nth(2)?.parse().ok()?)))
    };
    text.lines().filter_map(line).collect()
}

/// Caches of kmalloc's whose objects became many more, and caches that are new.
fn grown(before: &BTreeMap<&str, (u64, u64)>, after: &BTreeMap<&str, (u64, u64)>) -> Vec<String> {
    let one = |(name, (active, per_slab)): (&&str, &(u64, u64))| match before.get(*name) {
        // A kernel that tells nothing had none of them.
        None if before.is_empty() => None,
        None => Some(format!("cache {} left", escape(name))),
        Some((had, _)) => {
            let more = active.saturating_sub(*had);
            (name.starts_with("kmalloc-") && more > SLABS * per_slab)
                .then(|| format!("{more} more objects in {}", escape(name)))
        }
    };
    after.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn got(leaks: &str, before: &str, after: &str) -> String {
        let failure = compare(leaks.as_bytes(), before.as_bytes(), after.as_bytes(), 1);
        failure.map_or(String::new(), |failure| failure.got)
    }

    #[test]
    fn forgotten_pieces_are_counted_by_who_took_them() {
        let object = "unreferenced object 0xffff888003b27000 (size 128):\n  comm \"init\", pid 28, jiffies 4294668\n  hex dump \
            (first 32 bytes):\n    00 00 00 00 00 00 00 00  ........\n  backtrace (crc 0):\n    kmemleak_alloc+0x28/0x30\n    kmalloc_trace+0x1/0x2\n    \
            forget+0x17/0x20 [forgets]\n    0xffffffffa0004010\n    do_one_initcall+0x87/0x2e0\n";
        assert_eq!(
            got(&object.repeat(2), "", ""),
            "2 times 128 bytes forgotten that forget+0x17/0x20 [forgets] took"
        );
        for allocator in
            ["__vmalloc_node_noprof", "__kvmalloc_node", "kstrdup", "kmemdup_noprof", "devm_kmalloc"]
        {
            let by = object.replace("kmalloc_trace", allocator);
            assert_eq!(
                got(&by, "", ""),
                "128 bytes forgotten that forget+0x17/0x20 [forgets] took",
                "{allocator}"
            );
        }
        let nobody = "unreferenced object 0xf (size 8):\n  backtrace:\n    kmalloc_trace+0x1/0x2\n";
        assert_eq!(got(nobody, "", ""), "8 bytes forgotten that kmalloc_trace+0x1/0x2 took");
        let old =
            "unreferenced object 0xf (size 8):\n  backtrace:\n    [<00000000c2aa1234>] foo+0x1/0x2 [bar]\n";
        assert_eq!(got(old, "", ""), "8 bytes forgotten that foo+0x1/0x2 [bar] took");
        assert_eq!(
            got("unreferenced object \u{1b}", "", ""),
            "? bytes forgotten that a place without a name took"
        );
    }

    #[test]
    fn caches_that_grew_by_more_than_noise_are_named() {
        let table = |active: u32| {
            format!(
                "slabinfo - version: 2.1\n# name <active_objs>\nkmalloc-128 {active} 500 128 32 1 : tunables\n\
                     dentry {active} 900 192 21 1 :\n"
            )
        };
        assert_eq!(got("", &table(100), &table(164)), "");
        assert_eq!(got("", &table(100), &table(165)), "65 more objects in kmalloc-128");
        assert_eq!(got("", &table(100), &(table(100) + "mine 1 32 64 64 1 :\n")), "cache mine left");
        assert_eq!(got("", "", &table(100)), "");
        assert_eq!(got("", "nonsense", "kmalloc-8 x\n\u{0}"), "");
        for nothing in ["", "kmalloc-8 x\n"] {
            assert!(got("", &table(100), nothing).starts_with("not known"), "{nothing}");
        }
    }
}
