//! From places on the way to functions that call each other.

use board::wire::Stop;

/// Stacks of the kernel are no larger than this, in bytes (THREAD_SIZE of
/// arch/x86/include/asm/page_64_types.h, with KASAN).
const STACK: u64 = 1 << 15;

/// A function that ran.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Its name, with its module.
    pub name: String,
    /// 0 for the kernel's entry.
    pub depth: usize,
    /// Its first instruction.
    pub entry: Stop,
    /// Behind its return; `None` for one that did not return, or left by a jump into another function.
    pub exit: Option<Stop>,
}

/// The functions, in the order in which they began. `stops` are those of ring 0, the kernel's entry first; `symbol`
/// gives an address's function and how far into it the address is.
///
/// Depth is told by the stack pointer: a function ends when the stack is above the place where it began, and
/// one that begins at the place where another began has replaced it.
pub fn functions(stops: &[Stop], symbol: &dyn Fn(u64) -> Option<(String, u64)>) -> Vec<Function> {
    let mut functions: Vec<Function> = Vec::new();
    // Indices of those under way. The entry's stack is still the program's, and it never returns.
    let mut open: Vec<usize> = Vec::new();
    for (index, stop) in stops.iter().enumerate() {
        let near = |function: &Function| function.entry.rsp.abs_diff(stop.rsp) < STACK;
        while let Some(&last) = open.last().filter(|_| open.len() > 1) {
            let returned = match near(&functions[last]) {
                true => functions[last].entry.rsp < stop.rsp,
                // Back from another stack.
                false => open[1..].iter().any(|&it| near(&functions[it])),
            };
            if !returned {
                break;
            }
            functions[last].exit = Some(*stop);
            open.pop();
        }
        let Some((name, 0)) = symbol(stop.rip).filter(|(name, _)| !is_thunk(name)) else {
            if index == 0 {
                // An entry that no symbol knows: a module's, or a kernel's without symbols.
                functions.push(Function {
                    name: format!("{:#x}", stop.rip),
                    depth: 0,
                    entry: *stop,
                    exit: None,
                });
                open.push(0);
            }
            continue;
        };
        if let Some(&last) = open.last().filter(|_| open.len() > 1)
            && functions[last].entry.rsp == stop.rsp
        {
            if functions[last].name == name {
                // A loop back to its first instruction.
                continue;
            }
            open.pop();
        }
        functions.push(Function { name, depth: open.len(), entry: *stop, exit: None });
        open.push(functions.len() - 1);
    }
    functions
}

/// Code that a compiler puts in place of an indirect call or a return (Documentation/admin-guide/hw-vuln/), and
/// labels in the entry code.
fn is_thunk(name: &str) -> bool {
    [
        "__x86_indirect_",
        "__x86_return_",
        "srso_",
        "retbleed_",
        "clear_bhb",
        "__fentry__",
        "write_ibpb",
        "entry_SYSCALL_64_",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
}
