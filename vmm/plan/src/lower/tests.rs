//! What steps become.

use super::{BESIDE_LIMIT, READ_LIMIT, SyscallNames, lower};
use crate::fixture::Table;
use crate::{Bind, Call, Int, Op, Operand, PlanStep, Role, Source, What};
use proptest::prelude::*;
use protocol::Door;
use scenario::fixture::{CHARDEV, HELLO, SYSCALL, damaged, scenario, try_load};
use scenario::model::Data;

fn plan(text: &str) -> Vec<PlanStep> {
    lower(&scenario(text), &Table).unwrap_or_else(|errors| panic!("{errors}"))
}

fn call(role: Role, nr: u64, args: Vec<Operand>) -> Op {
    Op { role, what: call64(nr, args).into() }
}

fn call64(nr: u64, args: Vec<Operand>) -> Call {
    Call { door: Door::Syscall64, nr, args }
}

#[test]
fn every_step_of_the_shipped_scenarios_has_one_main_op() {
    for text in [CHARDEV, HELLO, SYSCALL] {
        let scenario = scenario(text);
        let plan = lower(&scenario, &Table).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(plan.len(), scenario.steps.len());
        for step in &plan {
            assert_eq!(step.ops.iter().filter(|op| op.role == Role::Main).count(), 1);
        }
    }
}

#[test]
fn insmod_is_one_finit_module_of_the_opened_object() {
    let text =
        "modules: [../modules/hello]\nsteps:\n- insmod: helloModule\n  params: {whom: two words, times: 2}\n";
    let path = Operand::Text("/lib/modules/helloModule.ko".into());
    let params = Operand::Text("whom=\"two words\" times=2".into());
    let at = Operand::Int(-100_i64 as u64);
    let expected = vec![
        call(Role::Setup, 257, vec![at, path, Operand::Int(0o2_000_000), Operand::Int(0)]),
        call(Role::Main, 313, vec![Operand::Op(0), params, Operand::Int(0)]),
        call(Role::Cleanup, 3, vec![Operand::Op(0)]),
    ];
    assert_eq!(plan(text)[0].ops, expected);
}

#[test]
fn rmmod_does_not_wait_and_knows_the_kernels_name() {
    let text = "modules: [../modules/hello]\nsteps:\n- rmmod: helloModule\n";
    let args = vec![Operand::Text("helloModule".into()), Operand::Int(0o4000)];
    let ops = plan(text).swap_remove(0).ops;
    assert_eq!(ops[0], call(Role::Main, 176, args));
    // Only a refusal because of users (EAGAIN, 11) is followed by a look at how many there are.
    assert!(ops[1..].iter().all(|op| matches!(op.role, Role::Also(Some(11)) | Role::Cleanup)), "{ops:?}");
    assert!(format!("{ops:?}").contains("/sys/module/helloModule/refcnt"));
}

#[test]
fn reload_loads_and_unloads_so_many_times_from_one_opened_file() {
    let text = "modules: [../modules/hello]\nsteps:\n- reload: helloModule\n  repeat: 3\n";
    let ops = plan(text).swap_remove(0).ops;
    assert_eq!((ops[0].role, ops[0].what.call().map(|call| call.nr)), (Role::Setup, Some(257)));
    let name = Operand::Text("helloModule".into());
    let calls = vec![
        call64(313, vec![Operand::Op(0), Operand::Text(String::new()), Operand::Int(0)]),
        call64(176, vec![name, Operand::Int(0o4000)]),
    ];
    assert_eq!(ops[1], Op { role: Role::Main, what: What::Calls { calls, times: 3 } });
    assert_eq!(ops.last(), Some(&call(Role::Cleanup, 3, vec![Operand::Op(0)])));
}

#[test]
fn modprobe_is_a_program_with_parameters_or_r() {
    let text = "modules: [../modules/hello]\nsteps:\n- modprobe: helloModule\n  params: {whom: you}\n\
                - modprobe: helloModule\n  remove: true\n";
    let argv = |step: &PlanStep| match &step.ops[..] {
        [Op { what: What::Run { argv, .. }, role: Role::Main }] => argv.join(" "),
        other => panic!("{other:?}"),
    };
    let plan = plan(text);
    assert_eq!(argv(&plan[0]), "/bin/modprobe helloModule whom=you");
    assert_eq!(argv(&plan[1]), "/bin/modprobe -r helloModule");
}

#[test]
fn clean_looks_before_the_first_step_and_after_the_last() {
    let plan = plan("steps:\n- sleep: 1 ms\nexpect: {clean: [modules, nodes]}\n");
    assert_eq!(plan.len(), 3);
    // After them in a worker that no module's exit ran in.
    assert_eq!(plan[2].ops[0], Op { role: Role::Setup, what: What::Renew });
    assert_eq!(plan[0].ops.len() + 1, plan[2].ops.len());
    assert!(!plan[0].ops.iter().any(|op| op.what == What::Renew));
    // By the agent's own descriptors, which nobody can mount anything over.
    let text = format!("{:?}", plan[0].ops);
    let own = [(protocol::OWN_PROC, "modules"), (protocol::OWN_DEV, ".")];
    for (folder, path) in own {
        assert!(text.contains(&format!("[Int({folder}), Text({path:?})")), "{text}");
    }
}

#[test]
fn arguments_become_operands_and_names_become_binds() {
    let text = "steps:\n- syscall: csci_add\n  args: [-1, \"a\", {out: int, as: n}, {in: u16, value: 258}, {pointer: bad}]\n  as: r\n- syscall: 7\n  args: [$n, {in: long, value: $r}, {out: u8, as: b}, {inout: 4, value: ab}]\n";
    let plan = plan(text);
    let args = vec![
        Operand::Int(u64::MAX),
        Operand::Text("a".into()),
        Operand::Out(4),
        Operand::In(vec![2, 1]),
        Operand::Int(0x1000_0000_0000),
    ];
    assert_eq!(plan[0].ops, [call(Role::Main, 548, args)]);
    let int = Int { size: 4, signed: true };
    let n = Bind { name: "n".into(), from: Source::Data { index: 0, int }, of_process: false };
    assert_eq!(plan[0].binds, [n, Bind { name: "r".into(), from: Source::Value, of_process: false }]);
    let args = vec![
        Operand::Named("n".into()),
        Operand::NamedIn("r".into(), 8),
        Operand::Out(1),
        Operand::InOut(vec![b'a', b'b', 0, 0]),
    ];
    assert_eq!(plan[1].ops, [call(Role::Main, 7, args)]);
    // The value of `$r` does not come back: the first piece of data is the first buffer that the kernel fills.
    assert!(matches!(plan[1].binds[0].from, Source::Data { index: 0, .. }));
}

#[test]
fn a_number_is_looked_for_in_what_a_read_brought_and_in_all_of_other_buffers() {
    let steps = "- {read: 3, match: '(\\d+)', as: a}\n- {syscall: 0, args: [3, {out: 8}, 8], match: '(\\d+)', as: b}\n- {file: /x, match: '(\\d+)', as: c}\n";
    let from: Vec<Source> =
        plan(&format!("steps:\n{steps}")).iter().map(|it| it.binds[0].from.clone()).collect();
    let regex = || r"(?m)(\d+)".to_owned();
    assert_eq!(from, [Source::Read(regex()), Source::Match(regex()), Source::Match(regex())]);
}

#[test]
fn poll_asks_one_descriptor_for_whole_milliseconds() {
    let plan = plan("steps:\n- {open: /x, as: fd}\n- {poll: $fd, events: [in, out], for: 1500 us}\n");
    let fd = Operand::PollFd(Box::new(Operand::Named("fd".into())), 5);
    assert_eq!(plan[1].ops, [call(Role::Main, 7, vec![fd, Operand::Int(1), Operand::Int(2)])]);
    assert!(plan[0].binds[0].of_process);
}

#[test]
fn a_repeated_step_is_one_request_for_as_many_calls() {
    let plan = plan("steps:\n- syscall: getppid\n  repeat: 1000\n");
    assert!(matches!(&plan[0].ops[..], [Op { what: What::Calls { times: 1000, .. }, .. }]));
}

#[test]
fn a_name_that_the_kernel_does_not_have_is_an_error_with_its_line() {
    let text = "steps:\n- syscall: csci_ad\n- sleep: 1 s\nexpect:\n  syscalls:\n    getpppid: 1\n";
    let errors = lower(&scenario(text), &Table).expect_err("two unknown names").to_string();
    // The folder is a new one in every run.
    let folder = errors.find("--> ").zip(errors.find("scenarios/test.yaml"));
    let folder = folder.map(|(from, to)| errors[from + 4..to].to_owned()).unwrap_or_default();
    insta::assert_snapshot!(errors.replace(&folder, ""));
}

#[test]
fn files_are_opened_used_and_closed() {
    let plan = plan("steps:\n- file: /a\n- file: /b\n  append: text\n");
    let roles: Vec<Role> = plan[1].ops.iter().map(|op| op.role).collect();
    assert_eq!(roles, [Role::Setup, Role::Main, Role::Cleanup]);
    assert_eq!(plan[0].ops[1].what, What::ReadToEnd { fd: Operand::Op(0), limit: READ_LIMIT });
    let write = vec![Operand::Op(0), Operand::In(b"text".to_vec()), Operand::Int(4)];
    assert_eq!(plan[1].ops[1], call(Role::Main, 1, write));
}

#[test]
fn a_node_that_is_missing_is_not_replaced_by_a_file() {
    let creates = |path: &str| {
        let plan = plan(&format!("steps:\n- file: {path}\n  write: x\n"));
        let args = plan[0].ops[0].what.call().unwrap().args.clone();
        matches!(args[2], Operand::Int(flags) if flags & 0o100 != 0)
    };
    assert_eq!(["/tmp/x", "/dev/shm/x", "/devices"].map(creates), [true; 3]);
    assert_eq!(["/dev/x", "//dev/./x", "/dev/snd/x"].map(creates), [false; 3]);
}

#[test]
fn names_in_data_are_filled_with_their_values() {
    let plan = plan(
        "modules: [../modules/hello]\nsteps:\n- {syscall: 1, as: n}\n- {file: /a, write: 'n=${n}'}\n\
         - {insmod: helloModule, params: {debug: , a: 1}}\n",
    );
    let data = Data::of_text("n=${n}");
    let write = vec![Operand::Op(0), Operand::Data(data.clone()), Operand::Length(data)];
    assert_eq!(plan[1].ops[1], call(Role::Main, 1, write));
    assert!(format!("{:?}", plan[2].ops).contains("\"debug a=1\""), "{:?}", plan[2].ops);
}

#[test]
fn every_kind_of_step_loads_and_lowers() {
    let text = "\
modules: [../modules/hello]
steps:
- insmod: helloModule
  params: {list: [1, 2]}
- rmmod: helloModule
- syscall: 20
  door: int80
- mknod: /dev/b
  block: [7, 0]
- mknod: /dev/f
  fifo: true
  mode: 0644
- open: /dev/f
  flags: [read, write, nonblock]
  as: fd
- read: $fd
- write: $fd
  data: {bytes: 00 ff}
- lseek: $fd
  from: end
- ioctl: $fd
  request: 0x5401
  arg: {inout: 16, value: ab, as: buffer}
  expect: {errno: ENOTTY, buffer: {contains: ab}}
- close: $fd
- run: /bin/echo ${fd} two
  env: {A: b}
  stdin: x
  expect: {exit: 0, stdout: 3 two, stderr: ''}
- file: /tmp/${fd}
- file: /tmp/a
  write: x
- sleep: 1 s
- mount: /mnt
  type: tmpfs
  flags: [read-only, nosuid]
- umount: /mnt
- mkdir: /tmp/d
- rmdir: /tmp/d
- unlink: /tmp/a
";
    let numbers: Vec<Option<u64>> = plan(text)
        .iter()
        .map(|step| Some(step.ops.iter().find(|op| op.role == Role::Main)?.what.call()?.nr))
        .collect();
    let expected = [313, 176, 20, 259, 259, 257, 0, 1, 8, 16, 3].map(Some).into_iter();
    let expected = expected.chain([None, None, Some(1), None]).chain([165, 166, 258, 263, 263].map(Some));
    assert_eq!(numbers, expected.collect::<Vec<_>>());
    // read and write together are O_RDWR.
    let opens = &plan(text)[5];
    assert_eq!(opens.ops[0].what.call().unwrap().args[2], Operand::Int(0o2 | 0o4000 | 0o2_000_000));
}

/// A kernel that keeps freed memory.
struct Keeps;

impl SyscallNames for Keeps {
    fn number(&self, _: &str) -> Option<u64> {
        None
    }

    fn name(&self, _: u64) -> Option<&str> {
        None
    }

    fn all(&self) -> Vec<&str> {
        Vec::new()
    }

    fn frees_at_once(&self) -> bool {
        false
    }

    fn checks_slabs(&self) -> bool {
        true
    }

    fn waits_for_rcu(&self) -> bool {
        true
    }
}

#[test]
fn caches_are_not_read_where_their_counts_say_nothing() {
    let scenario = scenario("steps: [{sleep: 1 s}]\nexpect: {clean: [memory]}\n");
    let limits = |calls: &dyn SyscallNames| -> Vec<u32> {
        let steps = lower(&scenario, calls).unwrap_or_else(|errors| panic!("{errors}"));
        let read = |op: &Op| match op.what {
            What::ReadToEnd { limit, .. } => Some(limit),
            _ => None,
        };
        steps.iter().flat_map(|step| step.ops.iter().filter_map(read)).collect()
    };
    assert_eq!(limits(&Table), [BESIDE_LIMIT; 4]);
    // All places of a look find room in one answer.
    assert!(7 * BESIDE_LIMIT as usize <= protocol::MAX_FRAME);
    assert_eq!(limits(&Keeps), [BESIDE_LIMIT, 0, BESIDE_LIMIT, 0]);
}

#[test]
fn caches_are_checked_after_the_last_step_where_the_kernel_can() {
    let scenario = scenario("steps: [{sleep: 1 s}]\nexpect: {clean: [memory]}\n");
    let checked = |calls: &dyn SyscallNames| -> Vec<usize> {
        let steps = lower(&scenario, calls).unwrap_or_else(|errors| panic!("{errors}"));
        let writes = |op: &&Op| op.what.operands().any(|operand| *operand == Operand::In(b"1".to_vec()));
        steps.iter().map(|step| step.ops.iter().filter(writes).count()).collect()
    };
    assert_eq!(checked(&Table), [0, 0, 0]);
    // What RCU frees is waited for before, in both looks.
    assert_eq!(checked(&Keeps), [1, 0, 1 + 13]);
}

#[test]
fn what_kfree_rcu_has_collected_is_handed_over_before_rcu_is_waited_for() {
    let scenario = scenario("steps: [{sleep: 1 s}]\nexpect: {clean: [modules, memory]}\n");
    let asked = |calls: &dyn SyscallNames, look: usize| -> Vec<usize> {
        let steps = lower(&scenario, calls).unwrap_or_else(|errors| panic!("{errors}"));
        let ops = format!("{:?}", steps[look].ops);
        let at = ["sys/vm/drop_caches", "do_rcu_barrier", "Int(10)", "Int(30)", "slabinfo"];
        at.iter().filter_map(|text| ops.find(text)).collect()
    };
    // What the last look alone had freed would hide as much that was forgotten.
    for look in [0, 2] {
        let order = asked(&Table, look);
        assert_eq!(order.len(), 3);
        assert!(order.is_sorted(), "{order:?}");
        // Of caches that are not compared nothing has to go.
        let order = asked(&Keeps, look);
        assert_eq!(order.len(), 3);
        assert!(order.is_sorted(), "{order:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_scenario_that_loads_makes_lowering_panic(text in damaged()) {
        if let Ok(scenario) = try_load(&text) {
            let _ = lower(&scenario, &Table);
        }
    }
}
