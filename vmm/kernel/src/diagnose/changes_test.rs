use super::{super::message::messages, *};

/// What is told of the last message in a compiler's output.
fn told(release: &str, output: &str) -> Option<String> {
    let lines: Vec<String> = output.lines().map(str::to_owned).collect();
    let messages = messages(&lines);
    find(messages.last().expect("a message"), release).map(|change| change.advice().join("\n"))
}

/// As gcc 12 (for 6.12), clang 19 and rustc (for 7.3) say it, each with a part of what has to be told.
const SAID: &[(&str, &str)] = &[
    (
        "a.c:8:63: error: 'struct file_operations' has no member named 'ioctl'\n    8 |  .ioctl = my_ioctl };\n",
        ".unlocked_ioctl = my_ioctl",
    ),
    (
        "a.c:8:63: error: field designator 'ioctl' does not refer to any field in type 'struct file_operations'\n    8 |  .ioctl = my_ioctl };\n",
        ".unlocked_ioctl = my_ioctl",
    ),
    (
        "a.c:9:47: error: passing argument 4 of 'proc_create' from incompatible pointer type [-Werror=incompatible-pointer-types]\n    9 |  proc_create(\"x\",0,NULL,&fops);\n",
        "struct proc_ops my_ops",
    ),
    (
        "a.c:9:47: error: incompatible pointer types passing 'struct file_operations *' to parameter of type 'const struct proc_ops *' [-Werror]\n    9 |  proc_create(\"x\",0,NULL,&fops);\n",
        "struct proc_ops my_ops",
    ),
    (
        "/k/include/linux/init.h:180:22: error: passing argument 1 of 'class_create' from incompatible pointer type [-Werror]\n  180 | #define THIS_MODULE (&__this_module)\n      |  ^\n",
        "class_create(\"my\")",
    ),
    (
        "a.c:8:42: error: too many arguments to function 'class_create'\n    8 | c = class_create(THIS_MODULE, \"x\");\n",
        "class_create(\"my\")",
    ),
    (
        "a.c:8:68: error: too many arguments to function call, expected single argument 'name', have 2 arguments\n    8 | c = class_create(THIS_MODULE, \"x\");\n",
        "class_create(\"my\")",
    ),
    (
        "a.c:9:24: error: implicit declaration of function 'init_timer'; did you mean 'init_timers'? [-Werror]\n    9 | init_timer(&t);\n",
        "timer_setup(",
    ),
    (
        "a.c:9:51: error: assignment to 'void (*)(struct timer_list *)' from incompatible pointer type 'void (*)(long unsigned int)' [-Werror]\n    9 | t.function = f;\n",
        "timer_setup(",
    ),
    (
        "a.c:9:51: error: incompatible function pointer types assigning to 'void (*)(struct timer_list *)' from 'void (unsigned long)' [-W]\n    9 | t.function = f;\n",
        "timer_setup(",
    ),
    (
        "a.c:9:57: error: 'struct timer_list' has no member named 'data'\n    9 | t.data = 1;\n",
        "timer_setup(",
    ),
    ("a.c:9:58: error: no member named 'data' in 'struct timer_list'\n    9 | t.data = 1;\n", "timer_setup("),
    (
        "a.c:7:24: error: unknown type name 'mm_segment_t'\n    7 | mm_segment_t old = get_fs();\n",
        "kernel_read(",
    ),
    (
        "a.c:7:24: error: use of undeclared identifier 'mm_segment_t'\n    7 | mm_segment_t old = get_fs();\n",
        "kernel_read(",
    ),
    (
        "a.c:7:67: error: macro \"access_ok\" passed 3 arguments, but takes just 2\n    7 | access_ok(VERIFY_WRITE, (void *)0, 1);\n",
        "access_ok(pointer, size)",
    ),
    (
        "a.c:7:66: error: too many arguments provided to function-like macro invocation\n    7 | access_ok(VERIFY_WRITE, (void *)0, 1);\n/k/include/asm-generic/access_ok.h:45:9: note: macro 'access_ok' defined here\n",
        "access_ok(pointer, size)",
    ),
    (
        "a.c:1:10: fatal error: asm/system.h: No such file or directory\n    1 | #include <asm/system.h>\n",
        "irqflags.h",
    ),
    ("a.c:1:10: fatal error: 'asm/system.h' file not found\n    1 | #include <asm/system.h>\n", "irqflags.h"),
    (
        "a.c:9:47: error: initialization of 'void (*)(struct platform_device *)' from incompatible pointer type 'int (*)(struct platform_device *)' [-W]\n    9 | .remove = my_remove\n",
        "returns nothing",
    ),
    (
        "a.c:9:47: error: incompatible function pointer types initializing 'void (*)(struct platform_device *)' with an expression of type 'int (struct platform_device *)' [-W]\n    9 | .remove = my_remove\n",
        "returns nothing",
    ),
    (
        "a.c:9:51: error: initialization of 'vm_fault_t (*)(struct vm_fault *)' {aka 'unsigned int (*)(struct vm_fault *)'} from incompatible pointer type 'int (*)(struct vm_area_struct *, struct vm_fault *)' [-W]\n    9 | .fault = f\n",
        "vm_fault_t my_fault",
    ),
    (
        "a.c:10:83: error: assignment of read-only member 'vm_flags'\n   10 | v->vm_flags |= VM_IO;\n",
        "vm_flags_set(",
    ),
    (
        "a.c:10:83: error: cannot assign to non-static data member 'vm_flags' with const-qualified type 'const vm_flags_t' (aka 'const unsigned long')\n   10 | v->vm_flags |= VM_IO;\n",
        "vm_flags_set(",
    ),
    ("a.c:8:39: error: storage size of 'tv' isn't known\n    8 | struct timeval tv;\n", "struct timespec64"),
    (
        "a.c:8:39: error: variable has incomplete type 'struct timeval'\n    8 | struct timeval tv;\n",
        "struct timespec64",
    ),
    (
        "a.c:7:31: error: variable 'ts' has initializer but incomplete type\n    7 | struct timespec ts = x();\n",
        "struct timespec64",
    ),
    (
        "a.c:8:24: error: unknown type name 'wait_queue_t'; did you mean 'wait_event'?\n    8 | wait_queue_t w;\n",
        "wait_queue_entry_t",
    ),
    (
        "a.c:7:33: error: 'struct task_struct' has no member named 'state'; did you mean 'stats'?\n    7 | current->state = 1;\n",
        "set_current_state(",
    ),
    (
        "a.c:9:24: error: macro \"DECLARE_TASKLET\" passed 3 arguments, but takes just 2\n    9 | DECLARE_TASKLET(t, f, 0);\n",
        "struct tasklet_struct *t",
    ),
    (
        "a.c:8:25: error: expected declaration specifiers or '...' before string constant\n    8 | MODULE_SUPPORTED_DEVICE(\"x\");\n",
        "leave it out",
    ),
    (
        "a.c:8:25: error: expected parameter declarator\n    8 | MODULE_SUPPORTED_DEVICE(\"x\");\n",
        "leave it out",
    ),
    (
        "a.c:8:30: error: expected '=', ',', ';', 'asm' or '__attribute__' before 'my_probe'\n    8 | static int __devinit my_probe(struct pci_dev *d)\n",
        "leave it out",
    ),
    (
        "a.c:7:112: warning: passing argument 3 of 'kernel_read' makes integer from pointer without a cast [-Wint-conversion]\n    7 | kernel_read(f, 0, b, 4);\n",
        "&position",
    ),
    (
        "a.c:7:5: error: void value not ignored as it ought to be\n    7 | n = seq_printf(m, \"x\");\n",
        "returns nothing",
    ),
    (
        "error: unknown key \"author\". Valid keys are: [\"type\", \"name\", \"authors\"].\n --> a.rs:6:5\n  |\n6 |     author: \"me\",\n",
        "authors: [",
    ),
    (
        "a.c:7:14: error: conflicting types for 'sys_call_table'; have 'void *[]'\n    7 | extern void *sys_call_table[];\n",
        "patch of the kernel",
    ),
    (
        "a.c:7:14: error: redeclaration of 'sys_call_table' with a different type: 'void *[]' vs 'const sys_call_ptr_t[]'\n    7 | extern void *sys_call_table[];\n",
        "patch of the kernel",
    ),
    (
        "a.c:8:31: error: implicit declaration of function 'sys_open'; did you mean 'seq_open'? [-W]\n    8 | sys_open(\"x\", 0, 0);\n",
        "filp_open(",
    ),
    (
        "a.c:7:14: error: 'sys_call_table' undeclared (first use in this function)\n    7 | sys_call_table[0]\n",
        "patch of the kernel",
    ),
    (
        "a.c:10:75: error: passing 'const unsigned char *' to parameter of type 'void *' discards qualifiers [-W]\n   10 | memcpy(d->dev_addr, \"abcdef\", 6);\n",
        "eth_hw_addr_set(",
    ),
];

#[test]
fn what_compilers_say_of_old_code_is_known() {
    for (output, part) in SAID {
        let advice = told("7.3.4-vmm", output).unwrap_or_else(|| panic!("nothing is known of {output}"));
        assert!(advice.contains(part), "{output}\n{advice}");
        assert!(advice.starts_with("changed "), "{advice}");
    }
}

#[test]
fn a_kernel_before_the_change_has_nothing_told_of_it() {
    let gone = "a.c:1:1: error: implicit declaration of function 'del_timer' [-W]\n    1 | del_timer(&t);\n";
    assert_eq!(told("6.12.117-vmm", gone), None);
    assert!(told("6.15.0", gone).unwrap().starts_with("changed in Linux 6.15: "));
    assert!(told("7.3.4-vmm", gone).is_some());
    // 6.2 is older than 6.12, whatever the digits look like.
    assert_eq!(told("6.2.1", "a.c:1:1: error: 'no_llseek' undeclared here (not in a function)"), None);
}

#[test]
fn names_that_are_only_alike_are_not_meant() {
    for output in [
        "a.c:1:1: error: variable has incomplete type 'struct timespec64'\n    1 | struct timespec64 tv;\n",
        "a.c:1:1: error: implicit declaration of function 'my_init_timer'\n    1 | my_init_timer(&t);\n",
        "a.c:1:1: error: 'struct my_device' has no member named 'state'\n    1 | my->state = 1;\n",
        "a.c:1:1: error: 'struct file_operations' has no member named 'reed'\n    1 | .reed = x,\n",
        "a.c:1:1: error: too few arguments to function 'mine'\n    1 | mine(class_create(\"x\"));\n",
        "a.c:1:1: error: expected ';' before 'return'\n    1 | x = class_create(\"x\")\n",
    ] {
        assert_eq!(told("7.3.4", output), None, "{output}");
    }
}

/// A line that is no entry would be left out in silence.
#[test]
fn every_line_of_the_tables_is_part_of_an_entry() {
    for table in TABLES {
        let changes = parse(table);
        let heads = table.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit() || c == '~'));
        for head in heads.clone() {
            assert!(!parse_signs(head).is_empty(), "{head}");
            assert!(parse_signs(head).iter().all(|(since, _)| since.version.len() >= 2), "{head}");
        }
        let names: usize = heads.map(|head| parse_signs(head).len()).sum();
        assert_eq!(changes.iter().map(|change| change.signs.len()).sum::<usize>(), names);
        let indented = table.lines().filter(|line| line.starts_with(' ')).count();
        assert_eq!(indented, 2 * changes.len());
        for change in &changes {
            assert!(!change.signs.is_empty() && !change.what.ends_with('.'), "{change:?}");
        }
        let other = table.lines().filter(|line| {
            !line.is_empty()
                && !line.starts_with(['#', ' '])
                && !line.starts_with(|c: char| c.is_ascii_digit() || c == '~')
        });
        assert_eq!(other.count(), 0);
    }
}
