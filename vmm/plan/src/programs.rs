//! Programs that steps run: by which names, and what they are.

use crate::{PlanStep, What, code};
use board::wire::{Code, Key};
use initramfs::Initramfs;
use nix::fcntl::OFlag;
use scenario::model::{Action, Argument, Step};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Programs, named as steps run them, each with the paths where earlier steps may have put something else.
pub type Programs<'s> = BTreeMap<&'s str, BTreeSet<&'s str>>;

/// What `steps` run, which became `planned`. What a program replaces is not known.
pub fn run_by<'s>(steps: &'s [Step], planned: &'s [PlanStep]) -> Programs<'s> {
    let (mut programs, mut written) = (Programs::new(), BTreeSet::new());
    for (step, planned) in steps.iter().zip(planned) {
        for op in &planned.ops {
            if let What::Run { argv, .. } = &op.what
                && let Some(name) = argv.first()
            {
                programs.entry(name.as_str()).or_default().extend(&written);
            }
        }
        written.extend(written_by(&step.action));
    }
    programs
}

fn written_by(action: &Action) -> Vec<&str> {
    match action {
        Action::WriteFile { path, .. } | Action::Unlink { path, .. } => vec![path],
        Action::Mount { target, .. } => vec![target],
        Action::Open { path, flags, .. } if *flags as i32 & OFlag::O_ACCMODE.bits() != 0 => vec![path],
        // Whatever it does with it: it may rename another one to that.
        Action::Syscall { args, .. } => {
            let texts = args.iter().filter_map(|argument| match argument {
                Argument::Text(text) => Some(&**text),
                _ => None,
            });
            texts.collect()
        }
        _ => Vec::new(),
    }
}

/// Whether a path is one of these, or below one.
fn is_among(path: &str, written: &BTreeSet<&str>) -> bool {
    written.iter().any(|other| Path::new(path).starts_with(other))
}

/// What the guest executes by this name, unless one of these paths is that; of a script, what runs it.
pub(crate) fn code(whole: &Initramfs, name: &str, written: &BTreeSet<&str>, key: Key) -> Option<Code> {
    let paths = match name.contains('/') {
        true => vec![name.to_owned()],
        false => protocol::PATH.iter().map(|folder| format!("{folder}/{name}")).collect(),
    };
    let found = paths.iter().find_map(|path| whole.content(path))?;
    let file = code::interpreter(found).map_or(Some(found), |path| whole.content(path))?;
    // By whatever path: a link leads to the file itself.
    let is_written = |file: &[u8]| {
        written.iter().filter_map(|path| whole.content(path)).any(|other| std::ptr::eq(other, file))
    };
    let is_new = paths.iter().any(|path| is_among(path, written));
    if is_new || is_written(found) || is_written(file) { None } else { code::of(file, key) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture::Table, lower::lower};
    use scenario::fixture::scenario;

    #[test]
    fn what_earlier_steps_may_have_replaced_is_known_for_each_program() {
        let scenario = scenario(
            "steps:\n- run: /bin/a\n- file: /bin/a\n  write: x\n- run: /bin/a\n- open: /bin/r\n- open: /bin/w\n  \
             flags: [write]\n- syscall: 82\n  args: [/opt/b, /bin/b]\n- run: b\n",
        );
        let planned = lower(&scenario, &Table).unwrap();
        let programs = run_by(&scenario.steps, &planned);
        let all = ["/bin/a", "/bin/b", "/bin/w", "/opt/b"];
        assert_eq!(programs, [("/bin/a", ["/bin/a"].into()), ("b", all.into())].into());
        let first = run_by(&scenario.steps[..1], &planned[..1]);
        assert_eq!(first, [("/bin/a", [].into())].into());
    }

    #[test]
    fn what_is_mounted_or_removed_leaves_another_one_there() {
        let scenario = scenario("steps:\n- mount: /opt\n  type: tmpfs\n- unlink: /bin/b\n- run: /opt/a\n");
        let planned = lower(&scenario, &Table).unwrap();
        let programs = run_by(&scenario.steps, &planned);
        assert_eq!(programs["/opt/a"], ["/bin/b", "/opt"].into());
        let among = |path| is_among(path, &programs["/opt/a"]);
        assert!(among("/opt/a") && among("/bin/b") && !among("/bin/bb") && !among("/optional"));
    }
}
