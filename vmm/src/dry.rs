//! `vmm run --dry-run`: scenarios are read and planned as for a run, and what is wrong with them is said as it would be there.

use crate::{cli::HowArgs, exit, many::Planned, run, say};
use base::text::escape;
use harness::{
    Abort, Options,
    many::{self, Case, Foreseen},
};

/// Says of each scenario what is known without running it; returns the exit code.
pub fn dry_run(how: &HowArgs, options: &Options, planned: Result<Planned, Abort>) -> u8 {
    let foreseen = run::with_kernels(planned)
        .and_then(|planned| Ok((many::foresee(&planned.cases, options)?, planned.cases)));
    let (foreseen, cases) = match foreseen {
        Ok(found) => found,
        Err(abort) => return run::abandoned(how, abort),
    };
    cases.iter().zip(&foreseen).for_each(|(case, foreseen)| say::out(&line(case, foreseen)));
    let wrong: Vec<Abort> = foreseen.into_iter().filter_map(Result::err).collect();
    if wrong.is_empty() {
        return exit::of_all(&[]);
    }
    let verdict = exit::worst(&wrong.iter().map(|abort| abort.verdict).collect::<Vec<_>>());
    let why: Vec<String> = wrong.into_iter().map(|abort| abort.why).collect();
    run::abandoned(how, Abort { verdict, why: why.join("\n") })
}

fn line(case: &Case, foreseen: &Result<Foreseen, Abort>) -> String {
    let steps = match case.scenario.steps.len() {
        1 => "1 step".to_owned(),
        steps => format!("{steps} steps"),
    };
    let (word, found) = match foreseen {
        Ok(Foreseen::Ready { release, hash }) => {
            ("ok", format!("{steps}, kernel {release} {}", hash.get(..7).unwrap_or(hash)))
        }
        Ok(none @ (Foreseen::NoKernel | Foreseen::NoSource)) => {
            let what = if *none == Foreseen::NoKernel { "kernel" } else { "kernel's source" };
            (
                "ok",
                format!(
                    "{steps}; its {what} is not in the cache, so names of system calls were not looked up"
                ),
            )
        }
        Err(abort) => (abort.verdict.name(), steps),
    };
    let (name, path) = (escape(&case.title()), escape(&case.scenario.path.display().to_string()));
    format!("{word}  {name} ({path}): {found}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::wanted::Wanted;
    use std::sync::Arc;

    #[test]
    fn a_line_says_whether_names_were_looked_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        std::fs::write(&path, "steps:\n- sleep: 1 s\n").unwrap();
        let scenario = Arc::new(scenario::load(&path).unwrap_or_else(|error| panic!("{error}")));
        let case = Case { scenario, variant: "7.3".to_owned(), kernel: Wanted::default() };
        let shown = |foreseen| line(&case, &foreseen).replace(&path.display().to_string(), "a.yaml");
        let ready = Foreseen::Ready { release: "7.3.1".to_owned(), hash: "0123456789abcdef".to_owned() };
        assert_eq!(shown(Ok(ready)), "ok  a [7.3] (a.yaml): 1 step, kernel 7.3.1 0123456\n");
        for (foreseen, what) in [(Foreseen::NoKernel, "kernel"), (Foreseen::NoSource, "kernel's source")] {
            let said = format!(
                "1 step; its {what} is not in the cache, so names of system calls were not looked up\n"
            );
            assert!(shown(Ok(foreseen)).ends_with(&said), "{said}");
        }
        assert_eq!(shown(Err(Abort::input("no"))), "bad-input  a [7.3] (a.yaml): 1 step\n");
    }
}
