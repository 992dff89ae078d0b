//! A call's way as text.

use super::{
    signature::Parameter,
    tree::{self, Function},
};
use base::text::escape;
use board::wire::{Stop, Walk};
use scenario::errno::Errno;
use std::fmt::Write;

/// Functions deeper than this are counted, not shown.
const DEEPEST: usize = 9;

/// So many functions are shown in all.
const MOST: usize = 200;

/// ENOSYS (include/uapi/asm-generic/errno.h).
const NO_SUCH_CALL: i32 = 38;

/// RFLAGS.IF.
const INTERRUPTS: u64 = 1 << 9;

/// Everything that is told of a call.
pub struct Told<'a> {
    /// Its name, or `system call 999`.
    pub name: &'a str,
    /// Its number.
    pub nr: u64,
    /// What the kernel calls its parameters; empty where that is not known.
    pub parameters: &'a [Parameter],
    /// So many arguments were given.
    pub given: usize,
    /// Its way.
    pub walk: &'a Walk,
    /// An address's function, and how far into it the address is.
    pub symbol: &'a dyn Fn(u64) -> Option<(String, u64)>,
}

/// Registers of a system call's arguments (Documentation of the System V ABI, AMD64 supplement, appendix A.2.1).
const REGISTERS: [&str; 6] = ["RDI", "RSI", "RDX", "R10", "R8", "R9"];

fn arguments(stop: &Stop) -> [u64; 6] {
    let [rdi, rsi, rdx, _, r8, r9] = stop.args;
    [rdi, rsi, rdx, stop.r10_r11[0], r8, r9]
}

/// What a helper of the kernel's does for a call, with the values that it was given.
///
/// These are where arguments of a program are looked at: which of them ran says what the call checked.
fn meaning(name: &str, at: &Stop) -> Option<String> {
    let [rdi, rsi, rdx, rcx, ..] = at.args;
    let starts = |prefix: &str| name.starts_with(prefix);
    Some(match name {
        "do_syscall_64" => format!("the saved registers are at {rdi:#x}, the number is {}", rsi as i32),
        "x64_sys_call" => format!("looks for the function of number {}", rsi as u32),
        "__x64_sys_ni_syscall" => "no such system call".to_owned(),
        _ if starts("__x64_sys_") => format!("takes its arguments from the saved registers at {rdi:#x}"),
        // Value and address as asm/uaccess.h hands them over.
        _ if starts("__put_user_") => {
            format!("checks that {rcx:#x} is the program's memory, and writes {} there", at.rax as i64)
        }
        _ if starts("__get_user_") => {
            format!("checks that {:#x} is the program's memory, and reads it", at.rax)
        }
        "_copy_to_user" => {
            format!("checks that {rdi:#x} is the program's memory, and writes {rdx} bytes there")
        }
        "_copy_from_user" => format!("checks that {rsi:#x} is the program's memory, and reads {rdx} bytes"),
        "strncpy_from_user" => format!("reads a string of the program's at {rsi:#x}"),
        "strnlen_user" => format!("measures a string of the program's at {rdi:#x}"),
        "getname_flags" | "getname" => format!("reads a path of the program's at {rdi:#x}"),
        "fdget" | "fdget_pos" | "fdget_raw" | "__fget_light" | "__fdget" | "__fdget_pos" | "fget" => {
            format!("looks up descriptor {}", rdi as i32)
        }
        "capable" | "ns_capable" | "ns_capable_noaudit" => {
            "asks whether the program has a capability".to_owned()
        }
        "__check_object_size" => format!("checks that {rsi} bytes at {rdi:#x} lie in one object"),
        _ if starts("asm_exc_page_fault") => "a page was not there yet".to_owned(),
        _ if starts("entry_SYSRETQ") => "the program's registers and stack come back; sysretq".to_owned(),
        "syscall_exit_to_user_mode" => "is there a signal, or another task's turn?".to_owned(),
        "schedule" | "__schedule" => "gives the processor away".to_owned(),
        _ => return None,
    })
}

/// The whole way.
pub fn render(told: &Told) -> String {
    let mut text = String::new();
    // Writing to a string can't fail.
    let _ = write(&mut text, told);
    text
}

fn write(out: &mut String, told: &Told) -> std::fmt::Result {
    let walk = told.walk;
    let (Some(user), kernel) = (walk.stops.first(), walk.stops.get(1..).unwrap_or_default()) else {
        return writeln!(out, "the call was never made");
    };
    let who = match &walk.process {
        Some((pid, name)) => format!("  {} (pid {pid})", escape(name)),
        None => String::new(),
    };
    writeln!(out, "ring 3{who}")?;
    writeln!(out, "  {:#018x}  syscall", user.rip)?;
    writeln!(out, "    RAX  {:<22} the number: {}", told.nr, told.name)?;
    let count = told.parameters.len().max(told.given);
    for (at, value) in arguments(user).into_iter().enumerate().take(count) {
        let parameter = told.parameters.get(at);
        let mut words = parameter.map_or(String::new(), declaration);
        if let Some(bytes) = pointed(&walk.before, at) {
            write!(words, "{}points to {}", if words.is_empty() { "" } else { ", " }, bytes_shown(bytes))?;
        } else if value != 0 && parameter.is_some_and(Parameter::is_pointer) {
            words += ", where no page is yet";
        }
        let value = number(value, parameter.is_some_and(Parameter::is_pointer));
        writeln!(out, "    {:<4} {value:<22} {words}", REGISTERS[at])?;
    }
    writeln!(out, "    RSP  {:<22} its stack", format!("{:#x}", user.rsp))?;
    writeln!(out, "    CR3  {:<22} its page tables", format!("{:#x}", user.cr3))?;

    let (way, back) = match kernel.split_last() {
        Some((last, way)) if walk.returned => (way, Some(last)),
        _ => (kernel, None),
    };
    let Some(entry) = way.first() else {
        return writeln!(out, "ring 0\n  the kernel's entry was not reached");
    };
    writeln!(out, "ring 0  the processor went where MSR_LSTAR points")?;
    writeln!(out, "  {:#018x}  {}", entry.rip, place(told, entry.rip))?;
    writeln!(out, "    RCX  {:<22} where to go on afterwards", format!("{:#x}", entry.args[3]))?;
    writeln!(out, "    R11  {:<22} the program's RFLAGS", format!("{:#x}", entry.r10_r11[1]))?;
    let interrupts = if entry.rflags & INTERRUPTS == 0 { "off" } else { "on" };
    writeln!(
        out,
        "    RSP  {:<22} still the program's; interrupts are {interrupts}",
        format!("{:#x}", entry.rsp)
    )?;
    switches(out, way)?;
    calls(out, told, way)?;
    if walk.slept > 0 {
        let times = if walk.slept == 1 { "once".to_owned() } else { format!("{} times", walk.slept) };
        writeln!(out, "  it slept {times}; what other tasks did meanwhile is left out")?;
    }
    if walk.cut {
        writeln!(out, "  followed for {} instructions, no further", walk.instructions)?;
    }
    let Some(back) = back else {
        return writeln!(out, "it did not come back");
    };
    writeln!(out, "ring 3  after {} instructions in ring 0", walk.instructions)?;
    writeln!(out, "  {:#018x}  behind syscall", back.rip)?;
    writeln!(out, "    RAX  {}", result(back.rax as i64))?;
    for (at, parameter) in REGISTERS.iter().enumerate() {
        let (before, after) = (pointed(&walk.before, at), pointed(&walk.after, at));
        if let (Some(after), true) = (after, before != after) {
            let name = told.parameters.get(at).map_or(*parameter, |it| it.name.as_str());
            writeln!(out, "    {name} points to {}", bytes_shown(after))?;
        }
    }
    Ok(())
}

/// When the stack and the page tables became the kernel's.
fn switches(out: &mut String, way: &[Stop]) -> std::fmt::Result {
    const KERNELS_HALF: u64 = 1 << 63;
    let pairs = || way.windows(2).map(|pair| (pair[0], pair[1]));
    let tables = pairs().find(|(before, after)| before.cr3 != after.cr3 && before.at < 100);
    match tables {
        Some((_, after)) => {
            writeln!(out, "  {:>+6}  the kernel's page tables: CR3 {:#x}", after.at, after.cr3)?
        }
        None => writeln!(
            out,
            "          the page tables stay: they hold the kernel, too (no page-table isolation)"
        )?,
    }
    let stack = pairs().find(|(before, after)| before.rsp & KERNELS_HALF != after.rsp & KERNELS_HALF);
    if let Some((_, after)) = stack {
        writeln!(out, "  {:>+6}  the kernel's stack: RSP {:#x}", after.at, after.rsp)?;
    }
    Ok(())
}

fn calls(out: &mut String, told: &Told, way: &[Stop]) -> std::fmt::Result {
    let functions = tree::functions(way, told.symbol);
    let mut shown = 0;
    let mut at = 1;
    while let Some(function) = functions.get(at) {
        if function.depth > DEEPEST || shown >= MOST {
            let rest = functions[at..].iter().take_while(|it| it.depth > DEEPEST || shown >= MOST).count();
            let indent = "  ".repeat(function.depth.min(DEEPEST + 1) - 1);
            let s = if rest == 1 { "" } else { "s" };
            writeln!(out, "          {indent}... {rest} more function{s}")?;
            at += rest;
            continue;
        }
        // A helper that is called over and over is shown once.
        let same = |it: &&Function| it.depth == function.depth && it.name == function.name;
        let times = functions[at..].iter().take_while(same).count();
        line(out, function, times)?;
        shown += 1;
        at += times;
    }
    let unknown =
        told.walk.stops.last().is_some_and(|last| Errno::of(last.rax as i64) == Some(Errno(NO_SUCH_CALL)));
    if told.walk.returned && unknown && !functions.iter().any(|it| is_call(&it.name)) {
        let words =
            "no function belongs to this number: the result is what the entry code put there, -ENOSYS";
        writeln!(out, "          {words}")?;
    }
    Ok(())
}

fn line(out: &mut String, function: &Function, times: usize) -> std::fmt::Result {
    let mut words = format!("{}{}", "  ".repeat(function.depth - 1), escape(&function.name));
    if times > 1 {
        write!(words, " ({times} times)")?;
    }
    let meaning = meaning(&function.name, &function.entry);
    // What a function returns that is no call's own is anything, but errors are told from other values.
    let returned = function
        .exit
        .map(|exit| exit.rax as i64)
        .filter(|value| is_call(&function.name) || as_errno(*value).is_some());
    let arrow = returned.map(|value| match as_errno(value) {
        Some(errno) => format!("-> -{errno}"),
        None => format!("-> {value}"),
    });
    let notes: Vec<String> = [meaning, arrow].into_iter().flatten().collect();
    let words = format!("  {:>+6}  {words:<34}  {}", function.entry.at, notes.join(" "));
    writeln!(out, "{}", words.trim_end())
}

/// A system call's own function (include/linux/syscalls.h, arch/x86/include/asm/syscall_wrapper.h).
fn is_call(function: &str) -> bool {
    ["__x64_sys_", "__ia32_sys_", "__do_sys_", "__se_sys_"].iter().any(|prefix| function.starts_with(prefix))
}

/// An error as a function returns it, as a long or as an int.
fn as_errno(value: i64) -> Option<Errno> {
    let int = i64::from(value as i32);
    let errno = Errno::of(value).or_else(|| Errno::of(int).filter(|_| value >> 32 == 0))?;
    // What has no name is what was left in the register.
    Errno::all().any(|(_, known)| known == errno).then_some(errno)
}

fn declaration(parameter: &Parameter) -> String {
    let space = if parameter.kind.ends_with('*') || parameter.name.is_empty() { "" } else { " " };
    format!("{}{space}{}", parameter.kind, parameter.name)
}

fn place(told: &Told, address: u64) -> String {
    match (told.symbol)(address) {
        Some((name, 0)) => escape(&name),
        Some((name, offset)) => format!("{}+{offset:#x}", escape(&name)),
        None => "where the kernel has no symbol".to_owned(),
    }
}

fn pointed(memory: &[(u8, Vec<u8>)], at: usize) -> Option<&[u8]> {
    memory.iter().find(|(index, _)| usize::from(*index) == at).map(|(_, bytes)| &bytes[..])
}

fn number(value: u64, pointer: bool) -> String {
    let small = -0x1_0000_0000..0x1_0000_0000i64;
    if pointer || !small.contains(&(value as i64)) {
        format!("{value:#x}")
    } else {
        (value as i64).to_string()
    }
}

fn result(value: i64) -> String {
    match Errno::of(value) {
        Some(errno) => format!("{:<22} -{errno}: {}", value, errno.meaning()),
        None => number(value as u64, false),
    }
}

/// The first bytes, as a string where they are one.
fn bytes_shown(bytes: &[u8]) -> String {
    const FEW: usize = 8;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let printable = bytes[..end].iter().all(|byte| (0x20..0x7f).contains(byte));
    if end > 1 && printable {
        return format!("\"{}\"", escape(&String::from_utf8_lossy(&bytes[..end])));
    }
    bytes.iter().take(FEW).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}
