//! For tests: what a filter answers to a call that nobody wants to be made, such as reboot(2).

use seccompiler::sock_filter;

/// The answer as the kernel would find it, by the few instructions that there are in our filters.
pub(crate) fn answer(filter: &[sock_filter], call: i64, arguments: &[u64]) -> u32 {
    // `struct seccomp_data` (seccomp(2)): number, architecture (AUDIT_ARCH_X86_64), the caller's address, arguments.
    let mut seen = vec![call as u32, 0xc000_003e, 0, 0];
    seen.extend((0..6).flat_map(|index| {
        let value = arguments.get(index).copied().unwrap_or(0);
        [value as u32, (value >> 32) as u32]
    }));
    let (mut at, mut value) = (0, 0);
    loop {
        let sock_filter { code, jt, jf, k } = filter[at].clone();
        at += 1;
        let mut jump = |is: bool| at += usize::from(if is { jt } else { jf });
        // Codes by include/uapi/linux/bpf_common.h.
        match code {
            0x20 => value = seen[k as usize / 4],
            0x54 => value &= k,
            0x15 => jump(value == k),
            0x25 => jump(value > k),
            0x35 => jump(value >= k),
            0x05 => at += k as usize,
            0x06 => return k,
            other => panic!("{other:#x}?"),
        }
    }
}
