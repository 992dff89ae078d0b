//! Call trace entries, in the notations of all architectures and of the usual symbolisers.

use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// Longest name of a function (KSYM_NAME_LEN of include/linux/kallsyms.h).
const LONGEST: usize = 512;

/// One entry of a call trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Name without compiler suffixes (`.isra.0`, `.cold`), Rust names demangled; the bare address where the
    /// kernel printed no name.
    pub function: String,
    /// Bytes from the function's start.
    pub offset: Option<u64>,
    /// The function's size in bytes.
    pub size: Option<u64>,
    pub module: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
    /// Whether a symboliser found it inlined into the next frame.
    pub inlined: bool,
}

/// What a line of a trace can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Frame(Frame),
    /// A word on the stack that may be no caller at all.
    Unreliable,
}

/// Where a report says that the CPU was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pc {
    Kernel(Frame),
    /// In the kernel, but at no known function (a NULL call).
    Nowhere,
    User,
}

const ADDRESS: &str = r"(?:\(?\[ *<?(?:0x)?[0-9a-f]{6,16}>?\][ \t]*)";
const NAME: &str = r"(?<func>[A-Za-z_$<][0-9A-Za-z_.$<>:,&*{}]*?)";
const PLACE: &str = r"\+0x(?<off>[0-9a-f]{1,16})/0x(?<size>[0-9a-f]{1,16})";

static FRAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(&format!(
        r"^{ADDRESS}{{0,2}}(?<mark>\? +)?(?:\(?[0-9A-Za-z_][0-9A-Za-z_.]*(?: \[[0-9A-Za-z_]+\])?\)? from {ADDRESS}?)?\(?{NAME}{PLACE}\)?(?<rest>.*)$"
    ))
    .expect("a constant pattern")
});

/// `foo (fs/foo.c:12 fs/foo.c:30) mod`: what scripts/decode_stacktrace.sh makes of a frame.
static DECODED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(&format!(
        r"^{ADDRESS}?(?<mark>\? +)?{NAME} \((?<file>[0-9A-Za-z_./+-]+\.(?:c|h|S|rs)):(?<line>[0-9]{{1,7}})[^)]*\)(?<rest>.*)$"
    ))
    .expect("a constant pattern")
});

/// `foo fs/foo.c:12 [inline]`, and the older `[<     inline     >] foo fs/foo.c:12`.
static INLINED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^(?:\[<(?: *inline *|[0-9a-f]{8,16})>\] +)?(?<mark>\? +)?(?<func>[A-Za-z_][0-9A-Za-z_]*) (?<file>[0-9A-Za-z_./+-]+\.(?:c|h|S|rs)):(?<line>[0-9]{1,7})(?: \[inline\])?$",
    )
    .expect("a constant pattern")
});

static BARE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?:\[<[0-9a-f]{8,16}>\] )?(?<mark>\? )?(?<addr>0x[0-9a-f]{6,16})$")
        .expect("a constant pattern")
});

static SOURCE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?:^| |\()(?<file>[0-9A-Za-z_./+-]+\.(?:c|h|S|rs)):(?<line>[0-9]{1,7})(?: |:|\)|$)")
        .expect("a constant pattern")
});

static MODULE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^ \[(?<module>[0-9A-Za-z_][0-9A-Za-z_-]*)(?: [0-9a-f]{16,64})?\]")
        .expect("a constant pattern")
});

static PC: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^(?:[RE]IP:? (?<seg>[0-9a-f]{4}):|EIP: |EIP is at |[RE]?IP(?: is at|:) |pc *:|PC is at |epc *:|era *:|NIP:? ",
        r"|Krnl PSW *:|--- interrupt: [0-9a-f]+ at |IP-: )(?<rest>.*)$"
    ))
    .expect("a constant pattern")
});

static ANYWHERE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(&format!(r"(?:^|[ (\]]){NAME}{PLACE}(?<rest>.*)$")).expect("a constant pattern")
});

/// x86-64: from MODULES_VADDR without KASLR to MODULES_END (Linux Documentation/arch/x86/x86_64/mm.rst).
const MODULES: std::ops::Range<u64> = 0xffff_ffff_a000_0000..0xffff_ffff_ff00_0000;

impl Frame {
    /// Whether the kernel knew no function here, and it is where modules are: then it is one that is gone, or its discarded init.
    pub fn is_unknown_module(&self) -> bool {
        let address =
            self.function.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
        address.is_some_and(|address| MODULES.contains(&address))
    }
}

impl Entry {
    /// Reads a line of a trace; None when it is none.
    pub fn parse(text: &str) -> Option<Entry> {
        // Old kernels print the stack's name (`<IRQ>`, `<EOI>`, `<NMI>`) before the frame, on the same line.
        let text = match text.strip_prefix('<').and_then(|rest| rest.split_once("> ")) {
            Some((stack, frame)) if stack.bytes().all(|b| b.is_ascii_uppercase()) => frame.trim_start(),
            _ => text,
        };
        let found = FRAME
            .captures(text)
            .or_else(|| DECODED.captures(text))
            .or_else(|| INLINED.captures(text))
            .or_else(|| BARE.captures(text))?;
        let rest = found.name("rest").map_or("", |m| m.as_str());
        // powerpc spells it out.
        if found.name("mark").is_some() || rest.contains("(unreliable)") {
            return Some(Entry::Unreliable);
        }
        Some(Entry::Frame(frame(&found)))
    }
}

/// Whether a line of a report is an entry of a call trace.
pub fn is_frame(line: &str) -> bool {
    Entry::parse(line).is_some()
}

impl Pc {
    /// Reads the line that names the program counter.
    pub fn parse(text: &str) -> Option<Pc> {
        let found = PC.captures(text).filter(|_| !text.ends_with("[inline]"))?;
        // Code segments of x86: 0x33 and 0x23 are user mode's (64 and 32 bits), 0x73 that of a 32-bit kernel.
        if let Some("0033" | "0023" | "0073") = found.name("seg").map(|m| m.as_str()) {
            return Some(Pc::User);
        }
        let rest = &found["rest"];
        match ANYWHERE.captures(rest) {
            Some(place) => Some(Pc::Kernel(frame(&place))),
            None => match DECODED.captures(rest.trim_start()) {
                Some(place) => Some(Pc::Kernel(frame(&place))),
                None => Some(rest.split_whitespace().next_back().map_or(Pc::Nowhere, Pc::unnamed)),
            },
        }
    }
}

impl Pc {
    /// An address without a name.
    fn unnamed(address: &str) -> Pc {
        let frame = Frame { function: address.to_owned(), ..Frame::default() };
        if frame.is_unknown_module() { Pc::Kernel(frame) } else { Pc::Nowhere }
    }
}

/// The function of the first `name+0x1/0x2` in `text`.
pub fn function_in(text: &str) -> Option<Frame> {
    ANYWHERE.captures(text).map(|found| frame(&found))
}

fn frame(found: &regex::Captures<'_>) -> Frame {
    let hex = |name| u64::from_str_radix(found.name(name)?.as_str(), 16).ok();
    let rest = found.name("rest").map_or("", |m| m.as_str());
    let source = SOURCE.captures(rest);
    let text = |name| {
        found
            .name(name)
            .or_else(|| source.as_ref()?.name(name))
            .map(|m: regex::Match<'_>| m.as_str().to_owned())
    };
    let all = &found[0];
    Frame {
        function: found
            .name("func")
            .map(|m| base_name(m.as_str()))
            .or_else(|| found.name("addr").map(|m| m.as_str().to_owned()))
            .unwrap_or_default(),
        offset: hex("off"),
        size: hex("size"),
        module: MODULE.captures(rest).map(|m| m["module"].to_owned()),
        file: text("file"),
        line: text("line").and_then(|line| line.parse().ok()),
        inlined: all.ends_with("[inline]") || all.starts_with("[<") && all.contains("inline"),
    }
}

/// A symbol as a person knows it: Rust names demangled and without their hash, suffixes of the optimiser dropped.
pub fn base_name(symbol: &str) -> String {
    let symbol = symbol.trim_end_matches('.');
    if let Some(name) = demangled(symbol) {
        return name;
    }
    // `.isra.0`, `.part.3`, `.constprop.1`, `.cold`, `.llvm.123`, `.lto_priv.0`: all begin at the first dot.
    let name = match symbol.find('.') {
        Some(dot) if dot > 0 => &symbol[..dot],
        _ => symbol,
    };
    name.chars().take(LONGEST).collect()
}

/// A Rust symbol's name. A dozen characters can stand for a megabyte, since they may refer to themselves: what does not end is no name.
fn demangled(symbol: &str) -> Option<String> {
    struct Short(String);
    impl std::fmt::Write for Short {
        fn write_str(&mut self, part: &str) -> std::fmt::Result {
            self.0.push_str(part);
            if self.0.len() > LONGEST { Err(std::fmt::Error) } else { Ok(()) }
        }
    }
    let name = rustc_demangle::try_demangle(symbol).ok().filter(|_| symbol.len() <= LONGEST)?;
    let mut short = Short(String::new());
    std::fmt::write(&mut short, format_args!("{name:#}")).ok()?;
    Some(short.0)
}
