//! `vmm explain`: what a person is shown of one call's way.

use super::support::explain;

#[test]
fn a_call_is_followed_into_the_kernel_and_back() {
    let ran = explain(&["csci_add", "2", "40"]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    let places = [
        "the number: csci_add",
        "RDI  2                      long a",
        "RSI  40                     long b",
        "long __user *sum",
        "entry_SYSCALL_64",
        "interrupts are off",
        "the kernel's stack",
        "do_syscall_64",
        "__x64_sys_csci_add",
        "writes 42 there",
        "ring 3  after",
        "sum points to 2a 00 00 00 00 00 00 00",
    ];
    let mut rest = ran.text.as_str();
    for place in places {
        let (_, after) = rest.split_once(place).unwrap_or_else(|| panic!("no `{place}` in:\n{rest}"));
        rest = after;
    }
}

#[test]
fn a_number_that_nobody_knows_goes_its_way_to_enosys() {
    let ran = explain(&["999"]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    ran.says("the number is 999");
    ran.says("no function belongs to this number");
    ran.says("-ENOSYS: Function not implemented");
}

#[test]
fn an_error_is_seen_where_it_arises() {
    let ran = explain(&["csci_add", "2", "40", "{pointer: kernel}"]);
    ran.says("-> -EFAULT");
    ran.says("-EFAULT: Bad address");
    assert!(!ran.text.contains("__put_user"), "access_ok() comes first:\n{}", ran.text);
}

#[test]
fn a_call_that_sleeps_is_followed_on_both_sides_of_its_sleep() {
    let ran = explain(&["poll", "0", "0", "30"]);
    ran.says("it slept once");
    ran.says("do_sys_poll");
    ran.says("ring 3  after");
}

#[test]
fn a_call_that_never_returns_is_told_as_far_as_it_came() {
    let ran = explain(&["exit_group", "3"]);
    ran.says("do_group_exit");
    ran.says("it did not come back");
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    for (words, reason) in [
        (&["csci_ad", "1"][..], "did you mean `csci_add`?"),
        (&["csci_add", "1", "2", "3", "4"], "csci_add takes 3 arguments, and 4 are given"),
        (&["csci_add", "{out: lnog}"], "lnog"),
    ] {
        let ran = explain(words);
        assert_eq!(ran.code, Some(2), "{words:?}: {}", ran.text);
        ran.says(reason);
    }
}
