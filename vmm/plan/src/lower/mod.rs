//! A scenario's steps in the agent's terms: system calls and programs.

mod numbers;

#[cfg(test)]
mod tests;

use crate::{Bind, Call, Op, Operand, PlanStep, Role, Source, What};
use base::{
    diagnostic::{Diagnostic, Diagnostics},
    module::kernels_name,
};
use nix::fcntl::OFlag;
use protocol::Door;
use scenario::model::{
    Action, Argument, CallName, Data, Layout, Node, Num, Origin, Place, Scenario, Span, Step, Type, When,
    module_path,
};

/// The largest file that a `file` step reads, in bytes; of a larger one it is known that it is larger.
pub const READ_LIMIT: u32 = 16 << 20;

/// So much of each file that is read beside that, in bytes. Those of one step come in one answer, and all of them, with what was
/// seen of their reads, have to find room in a frame ([`protocol::MAX_FRAME`]).
const BESIDE_LIMIT: u32 = 1 << 20;

/// The kernel that will run, as far as steps depend on it: its 64-bit system call table, above all.
pub trait SyscallNames {
    /// The number of a name.
    fn number(&self, name: &str) -> Option<u64>;
    /// The name of a number.
    fn name(&self, nr: u64) -> Option<&str>;
    /// All names, for the nearest right one.
    fn all(&self) -> Vec<&str>;
    /// Whether freed memory leaves the counts of the kernel's caches at once; KASAN keeps it for a while.
    fn frees_at_once(&self) -> bool {
        true
    }
    /// Whether it checks the memory around what kmalloc gave away.
    fn checks_slabs(&self) -> bool {
        false
    }
    /// Whether it can be asked to wait for what RCU has to free.
    fn waits_for_rcu(&self) -> bool {
        false
    }
}

/// Steps in the agent's terms.
///
/// # Errors
/// Names of system calls that the kernel does not have, in steps and in the run's expectations.
pub fn lower(scenario: &Scenario, calls: &dyn SyscallNames) -> Result<Vec<PlanStep>, Diagnostics> {
    let mut errors = Vec::new();
    let mut known = |call: &CallName| match call {
        CallName::Name(name, span) if calls.number(name).is_none() => {
            errors.push(unknown_call(name, span, calls));
        }
        CallName::Name(..) | CallName::Nr(_) => {}
    };
    for step in &scenario.steps {
        if let Action::Syscall { call, .. } = &step.action {
            known(call);
        }
    }
    scenario.expect.syscalls.iter().for_each(|expect| known(&expect.call));
    if !errors.is_empty() {
        return Err(Diagnostics::new(scenario.source.clone(), errors));
    }
    Ok(scenario.steps.iter().map(|step| lower_step(scenario, step, calls)).collect())
}

fn unknown_call(name: &str, span: &Span, calls: &dyn SyscallNames) -> Diagnostic {
    Diagnostic::new(span, format!("this kernel has no system call named `{name}`"))
        .nearest(name, calls.all())
        .help("a call that the kernel should not know is named by its number")
}

/// The number of a call; that its name is known was checked before.
pub fn number(call: &CallName, calls: &dyn SyscallNames) -> Option<u64> {
    match call {
        CallName::Name(name, _) => calls.number(name),
        CallName::Nr(nr) => Some(*nr),
    }
}

fn lower_step(scenario: &Scenario, step: &Step, calls: &dyn SyscallNames) -> PlanStep {
    if let Action::Reload { module, params } = &step.action {
        return PlanStep {
            ops: reload(module, params, step.repeat),
            timeout: step.timeout,
            binds: Vec::new(),
        };
    }
    let mut ops = ops(&step.action, calls);
    // A repeated step is one call (the reader sees to that).
    if let [Op { what: What::Calls { times, .. }, .. }] = &mut ops[..] {
        *times = step.repeat;
    }
    let binds = step.binds.iter().filter_map(|binding| {
        let from = match &binding.from {
            Origin::Value => Source::Value,
            Origin::Data(index, Layout::Number(int)) => Source::Data { index: *index, int: *int },
            // Bytes are for expectations; no later step can use them.
            Origin::Data(_, Layout::Bytes(_)) => return None,
            Origin::Match(regex) if matches!(step.action, Action::Read { .. }) => {
                Source::Read(regex.as_str().to_owned())
            }
            Origin::Match(regex) => Source::Match(regex.as_str().to_owned()),
        };
        let of_process = scenario.goes_with_process(&binding.name);
        Some(Bind { name: binding.name.clone(), from, of_process })
    });
    PlanStep { ops, timeout: step.timeout, binds: binds.collect() }
}

fn ops(action: &Action, calls: &dyn SyscallNames) -> Vec<Op> {
    match action {
        Action::Insmod { module, params } => with_file(
            &module_path(module),
            OFlag::O_RDONLY,
            0,
            call(
                numbers::FINIT_MODULE,
                vec![Operand::Op(0), Operand::Text(module_params(params)), Operand::Int(0)],
            ),
        ),
        Action::Rmmod { module } => {
            let mut ops = single(delete_module(module).into());
            ops.extend(users(module, ops.len()));
            ops
        }
        Action::Reload { module, params } => reload(module, params, 1),
        Action::Modprobe { module, params, remove } => {
            let remove = remove.then(|| "-r".to_owned());
            let params = params.iter().map(|(name, value)| match value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            });
            let argv = ["/bin/modprobe".to_owned()].into_iter().chain(remove).chain([module.clone()]);
            single(What::Run {
                argv: argv.chain(params).collect(),
                env: Vec::new(),
                stdin: Data::default(),
                user: None,
            })
        }
        Action::Modinfo { module } => {
            let argv = vec!["/bin/modinfo".to_owned(), module.clone()];
            single(What::Run { argv, env: Vec::new(), stdin: Data::default(), user: None })
        }
        Action::Lsmod => {
            let read = What::ReadToEnd { fd: Operand::Op(0), limit: READ_LIMIT };
            with_file("/proc/modules", OFlag::O_RDONLY, 0, read)
        }
        Action::Look { at, when } => look(at, *when, calls),
        Action::Syscall { call, door, args } => {
            let nr = number(call, calls).unwrap_or(u64::MAX);
            let args = args.iter().map(argument).collect();
            single(Call { door: *door, nr, args }.into())
        }
        Action::Mknod { path, kind, mode } => {
            let (format, device) = match kind {
                Node::Char(major, minor) => (numbers::S_IFCHR, device(major, minor)),
                Node::Block(major, minor) => (numbers::S_IFBLK, device(major, minor)),
                Node::Fifo => (numbers::S_IFIFO, Operand::Int(0)),
            };
            let mode = Operand::Int(format | u64::from(*mode));
            single(call(numbers::MKNODAT, vec![Operand::Int(numbers::AT_FDCWD), text(path), mode, device]))
        }
        Action::Open { path, flags, mode } => single(open(path, u64::from(*flags), *mode)),
        Action::Read { fd, count } => {
            single(call(numbers::READ, vec![num(fd), Operand::Out(*count), Operand::Int(u64::from(*count))]))
        }
        Action::Write { fd, data } => single(write(num(fd), data)),
        Action::Lseek { fd, offset, whence } => {
            single(call(numbers::LSEEK, vec![num(fd), num(offset), Operand::Int(u64::from(*whence))]))
        }
        Action::Ioctl { fd, request, arg } => {
            single(call(numbers::IOCTL, vec![num(fd), Operand::Int(*request), argument(arg)]))
        }
        Action::Close { fd } => single(call(numbers::CLOSE, vec![num(fd)])),
        Action::Poll { fd, events, time } => {
            // It takes whole milliseconds.
            let time = u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
            let fd = Operand::PollFd(Box::new(num(fd)), *events);
            single(call(numbers::POLL, vec![fd, Operand::Int(1), Operand::Int(time)]))
        }
        Action::Run { argv, env, stdin, .. } => single(What::Run {
            argv: argv.clone(),
            env: env.clone(),
            stdin: stdin.clone(),
            user: action.user(),
        }),
        Action::ReadFile { path } => {
            with_file(path, OFlag::O_RDONLY, 0, What::ReadToEnd { fd: Operand::Op(0), limit: READ_LIMIT })
        }
        Action::WriteFile { path, data, append } => {
            let how = if *append { OFlag::O_APPEND } else { OFlag::O_TRUNC };
            // What is missing in /dev is a driver's node: a file in its place would take everything.
            let create = if is_node(path) { OFlag::empty() } else { OFlag::O_CREAT };
            with_file(path, OFlag::O_WRONLY | create | how, 0o644, write(Operand::Op(0), data))
        }
        Action::Sleep { time } => single(What::Sleep(*time)),
        Action::Mount { target, source, fs, flags, options } => single(call(
            numbers::MOUNT,
            vec![text(source), text(target), text(fs), Operand::Int(*flags), text(options)],
        )),
        Action::Umount { target } => single(call(numbers::UMOUNT2, vec![text(target), Operand::Int(0)])),
        Action::Mkdir { path, mode } => single(call(
            numbers::MKDIRAT,
            vec![Operand::Int(numbers::AT_FDCWD), text(path), Operand::Int(u64::from(*mode))],
        )),
        Action::Rmdir { path } => single(unlink(path, numbers::AT_REMOVEDIR)),
        Action::Unlink { path } => single(unlink(path, 0)),
    }
}

/// The kernel knows a module by its name with `_` for `-` (kernel/module/main.c), and refuses at once instead of
/// waiting for its users when O_NONBLOCK is set.
fn delete_module(module: &str) -> Call {
    let flags = Operand::Int(OFlag::O_NONBLOCK.bits() as u64);
    call64(numbers::DELETE_MODULE, vec![text(&kernels_name(module)), flags])
}

/// How many hold a module that the kernel did not remove because it is held. `at` is the first op's index.
fn users(module: &str, at: usize) -> Vec<Op> {
    let role = Role::Also(Some(nix::errno::Errno::EAGAIN as i32));
    let path = format!("/sys/module/{}/refcnt", kernels_name(module));
    read_also(role, &path, at)
}

fn read_also(role: Role, path: &str, at: usize) -> Vec<Op> {
    let open = open(path, OFlag::O_CLOEXEC.bits() as u64, 0);
    let read = What::ReadToEnd { fd: Operand::Op(at), limit: BESIDE_LIMIT };
    let close = call(numbers::CLOSE, vec![Operand::Op(at)]);
    vec![Op { role, what: open }, Op { role, what: read }, Op { role: Role::Cleanup, what: close }]
}

/// Loads and unloads so many times, until something of it fails.
fn reload(module: &str, params: &[(String, Option<String>)], times: u32) -> Vec<Op> {
    let file = open(&module_path(module), OFlag::O_CLOEXEC.bits() as u64, 0);
    let params = Operand::Text(module_params(params));
    let load = call64(numbers::FINIT_MODULE, vec![Operand::Op(0), params, Operand::Int(0)]);
    let rounds = What::Calls { calls: vec![load, delete_module(module)], times };
    let mut ops = vec![Op { role: Role::Setup, what: file }, Op { role: Role::Main, what: rounds }];
    ops.extend(users(module, ops.len()));
    ops.push(Op { role: Role::Cleanup, what: call(numbers::CLOSE, vec![Operand::Op(0)]) });
    ops
}

/// Reads all of the places, each one piece of data. The main op does nothing that can fail: a place that is
/// not there has nothing in it.
fn look(at: &[Place], when: When, calls: &dyn SyscallNames) -> Vec<Op> {
    let mut ops = Vec::new();
    if when == When::After {
        // A module's functions ran in the worker's context: what it may open, and what its descriptors lead to, may be as they left it.
        ops.push(Op { role: Role::Setup, what: What::Renew });
    }
    ops.extend(single(call(numbers::GETPID, Vec::new())));
    for place in at {
        if *place == Place::Memory {
            find_leaks(&mut ops, when);
            // Before the first step as well: as much as only the last look had freed could be forgotten without a word.
            let_rcu_free(&mut ops, calls);
            if when == When::After && calls.checks_slabs() {
                check_slabs(&mut ops);
            }
        }
        let first = ops.len();
        let mut more = read_also(Role::Also(None), place.path(), first);
        more[0].what = open_own(place.path(), OFlag::O_RDONLY);
        if *place == Place::Nodes {
            let size = Place::LISTING;
            let buffer = vec![Operand::Op(first), Operand::Out(size), Operand::Int(size.into())];
            more[1].what = call(numbers::GETDENTS64, buffer);
        }
        if *place == Place::Memory && !calls.frees_at_once() {
            // Nothing is compared with nothing.
            more[1].what = What::ReadToEnd { fd: Operand::Op(first), limit: 0 };
        }
        ops.extend(more);
    }
    ops
}

/// Names in sysfs and much else are freed a grace period of RCU later. Writing to this parameter waits until all of it
/// was (rcu_barrier; Documentation/admin-guide/kernel-parameters.txt, rcutree.do_rcu_barrier).
fn let_rcu_free(ops: &mut Vec<Op>, calls: &dyn SyscallNames) {
    const FILE: &str = "/sys/module/rcutree/parameters/do_rcu_barrier";
    /// Longer than two grace periods take a kernel that has nothing else to do, in ms: some ticks each.
    const GRACE: u64 = 30;
    /// Longer than a worker takes that has nothing else to do, in ms: what kfree_rcu() was given is freed by one, behind RCU.
    const WORK: u64 = 10;
    if calls.frees_at_once() {
        hand_over_to_rcu(ops);
    }
    let mut rest = GRACE;
    if calls.waits_for_rcu() {
        write_also(ops, FILE, b"1");
        rest = WORK;
    }
    let rest = call(numbers::POLL, vec![Operand::Int(0), Operand::Int(0), Operand::Int(rest)]);
    ops.push(Op { role: Role::Also(None), what: rest });
}

/// Has the kernel give RCU at once what kfree_rcu() has collected and would keep for up to five seconds, in the hope of more
/// (KFREE_DRAIN_JIFFIES of kernel/rcu/tree.c, since 6.14 of mm/slab_common.c). It has a shrinker, which is called with all others.
fn hand_over_to_rcu(ops: &mut Vec<Op>) {
    // Caches only, and no pages (Documentation/admin-guide/sysctl/vm.rst, drop_caches).
    write_also(ops, "/proc/sys/vm/drop_caches", b"2");
}

/// Writes to a file that may be none.
fn write_also(ops: &mut Vec<Op>, path: &str, word: &[u8]) {
    let also = |what| Op { role: Role::Also(None), what };
    let file = ops.len();
    ops.push(also(open_own(path, OFlag::O_WRONLY)));
    let word = vec![Operand::Op(file), Operand::In(word.to_vec()), Operand::Int(word.len() as u64)];
    ops.push(also(call(numbers::WRITE, word)));
    ops.push(also(call(numbers::CLOSE, vec![Operand::Op(file)])));
}

/// Opens what the kernel shows. What somebody has mounted over it shows nothing of the kernel.
fn open_own(path: &str, flags: OFlag) -> What {
    let flags = (flags | OFlag::O_CLOEXEC).bits() as u64;
    let own = [("/proc/", protocol::OWN_PROC), ("/dev", protocol::OWN_DEV)];
    match own.iter().find_map(|(above, fd)| Some((path.strip_prefix(above)?, *fd))) {
        Some((path, fd)) => {
            let path = if path.is_empty() { "." } else { path };
            let args = vec![Operand::Int(fd as u64), text(path), Operand::Int(flags), Operand::Int(0)];
            call(numbers::OPENAT, args)
        }
        None => open(path, flags, 0),
    }
}

/// Has kmemleak forget what it found before, or look twice: what is younger than five seconds is no leak yet, and what
/// changes between two looks neither (Documentation/dev-tools/kmemleak.rst). Reads what it found. A kernel without it
/// fails the open; later ops take its result, in a place that their calls ignore if need be, and so are left out.
fn find_leaks(ops: &mut Vec<Op>, when: When) {
    const FOLDER: &str = "/sys/kernel/debug";
    const FILE: &str = "/sys/kernel/debug/kmemleak";
    const RIPE: u64 = 6000;
    let also = |what| Op { role: Role::Also(None), what };
    let mounted = ops.len();
    let nothing = || Operand::Int(0);
    ops.push(also(call(
        numbers::MOUNT,
        vec![text("none"), text(FOLDER), text("debugfs"), nothing(), nothing()],
    )));
    let file = ops.len();
    ops.push(also(open(FILE, (OFlag::O_WRONLY | OFlag::O_CLOEXEC).bits() as u64, 0)));
    let write = |word: &[u8]| {
        let args = vec![Operand::Op(file), Operand::In(word.to_vec()), Operand::Int(word.len() as u64)];
        also(call(numbers::WRITE, args))
    };
    match when {
        When::Before => ops.push(write(b"clear")),
        When::After => {
            let wait = vec![nothing(), nothing(), Operand::Int(RIPE), Operand::Op(file)];
            ops.extend([also(call(numbers::POLL, wait)), write(b"scan"), write(b"scan")]);
        }
    }
    ops.push(also(call(numbers::CLOSE, vec![Operand::Op(file)])));
    ops.extend(read_also(Role::Also(None), FILE, ops.len()));
    // As it was: the scenario may want to mount it.
    ops.push(also(call(numbers::UMOUNT2, vec![text(FOLDER), nothing(), Operand::Op(mounted)])));
}

/// Has the kernel look at all memory that kmalloc gave away and that was not freed, which is when it looks of its own
/// accord. What it finds it says in its log. Caches that it does not have are left out.
fn check_slabs(ops: &mut Vec<Op>) {
    // Those of create_kmalloc_caches (mm/slab_common.c) that most memory comes from.
    const SIZES: [&str; 13] =
        ["8", "16", "32", "64", "96", "128", "192", "256", "512", "1k", "2k", "4k", "8k"];
    for size in SIZES {
        write_also(ops, &format!("/sys/kernel/slab/kmalloc-{size}/validate"), b"1");
    }
}

fn single(what: What) -> Vec<Op> {
    vec![Op { role: Role::Main, what }]
}

/// Opens a file, does something with its descriptor (the result of op 0), closes it.
fn with_file(path: &str, flags: OFlag, mode: u32, main: What) -> Vec<Op> {
    let flags = (flags | OFlag::O_CLOEXEC).bits() as u64;
    vec![
        Op { role: Role::Setup, what: open(path, flags, mode) },
        Op { role: Role::Main, what: main },
        Op { role: Role::Cleanup, what: call(numbers::CLOSE, vec![Operand::Op(0)]) },
    ]
}

fn open(path: &str, flags: u64, mode: u32) -> What {
    let mode = Operand::Int(u64::from(mode));
    call(numbers::OPENAT, vec![Operand::Int(numbers::AT_FDCWD), text(path), Operand::Int(flags), mode])
}

fn write(fd: Operand, data: &Data) -> What {
    let (bytes, length) = match data.names().next() {
        Some(_) => (Operand::Data(data.clone()), Operand::Length(data.clone())),
        None => {
            let bytes = data.written().into_owned();
            let length = Operand::Int(bytes.len() as u64);
            (Operand::In(bytes), length)
        }
    };
    call(numbers::WRITE, vec![fd, bytes, length])
}

/// Whether a path leads to where device nodes are, and not into the file system for shared memory among them.
fn is_node(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    parts.len() > 1 && parts[0] == "dev" && parts[1] != "shm"
}

fn unlink(path: &str, flags: u64) -> What {
    call(numbers::UNLINKAT, vec![Operand::Int(numbers::AT_FDCWD), text(path), Operand::Int(flags)])
}

fn call(nr: u64, args: Vec<Operand>) -> What {
    call64(nr, args).into()
}

fn call64(nr: u64, args: Vec<Operand>) -> Call {
    Call { door: Door::Syscall64, nr, args }
}

fn text(text: &str) -> Operand {
    Operand::Text(text.to_owned())
}

fn device(major: &Num, minor: &Num) -> Operand {
    Operand::Device(Box::new(num(major)), Box::new(num(minor)))
}

fn num(num: &Num) -> Operand {
    match num {
        // A negative number is its two's complement in a register.
        Num::Int(value) => Operand::Int(*value as u64),
        Num::Name(name) => Operand::Named(name.clone()),
    }
}

fn argument(argument: &Argument) -> Operand {
    match argument {
        Argument::Num(value) => num(value),
        Argument::Text(string) => text(string),
        Argument::In(bytes) => Operand::In(bytes.clone()),
        Argument::Out(layout) => Operand::Out(layout.size()),
        Argument::InOut(bytes, _) => Operand::InOut(bytes.clone()),
        Argument::InNumber(Num::Int(value), int) => Operand::In(encode(*value, *int)),
        Argument::InOutNumber(Num::Int(value), int) => Operand::InOut(encode(*value, *int)),
        Argument::InNumber(Num::Name(name), int) => Operand::NamedIn(name.clone(), int.size),
        Argument::InOutNumber(Num::Name(name), int) => Operand::NamedInOut(name.clone(), int.size),
        Argument::Pointer(pointer) => Operand::Int(pointer.address()),
    }
}

fn encode(value: i128, int: Type) -> Vec<u8> {
    value.to_le_bytes()[..usize::from(int.size)].to_vec()
}

/// As `insmod` writes them: `name=value`, with quotes around what contains spaces.
fn module_params(params: &[(String, Option<String>)]) -> String {
    let words = params.iter().map(|(name, value)| match value {
        Some(value) if value.contains(char::is_whitespace) => format!("{name}=\"{value}\""),
        Some(value) => format!("{name}={value}"),
        None => name.clone(),
    });
    words.collect::<Vec<_>>().join(" ")
}
