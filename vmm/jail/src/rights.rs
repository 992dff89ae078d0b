//! The rights of a superuser (capabilities(7)): whoever builds needs none, though root starts it.

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};
use std::io;

/// From now on this thread, and all that it starts, has none of them. They don't come back with a command, though it be root's: that is for
/// who gains none any more (prctl(2), `PR_SET_NO_NEW_PRIVS`), and where the thread may say so, there are none to come back.
///
/// # Errors
/// It still has some: a container may forbid even to give them up.
pub(crate) fn give_up() -> io::Result<()> {
    for bit in 0..u64::BITS {
        // One that this kernel does not know is none.
        let _ = remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit));
    }
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    match set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }) {
        Err(error) if !capabilities(None).is_ok_and(|has| has.permitted.is_empty()) => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, process::Command, thread};

    /// Those of a thread, by proc_pid_status(5).
    fn rights(status: &str) -> Vec<(&str, u64)> {
        let lines = status.lines().filter_map(|line| line.strip_prefix("Cap")?.split_once(":\t"));
        lines.map(|(name, value)| (name, u64::from_str_radix(value, 16).unwrap())).collect()
    }

    #[test]
    fn nothing_is_left_of_them_and_nothing_comes_back_with_a_command() {
        // On a thread of its own: there is no way back.
        let tried = thread::spawn(|| {
            nix::sys::prctl::set_no_new_privs().unwrap();
            give_up().unwrap();
            let own = fs::read_to_string("/proc/thread-self/status").unwrap();
            let commands = Command::new("cat").arg("/proc/self/status").output().unwrap().stdout;
            (own, String::from_utf8(commands).unwrap())
        });
        let (own, commands) = tried.join().unwrap();
        let is_root = nix::unistd::Uid::effective().is_root();
        for status in [own, commands] {
            let rights = rights(&status);
            assert!(rights.len() >= 5, "{status}");
            // Who never had any may keep what it can't use.
            let of_use = rights.iter().filter(|(name, _)| is_root || *name != "Bnd");
            assert!(of_use.clone().all(|(_, value)| *value == 0), "{rights:?}");
        }
    }
}
