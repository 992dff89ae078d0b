//! Scenarios by kernels.

use base::wanted::Wanted;
use scenario::Scenario;
use std::{path::Path, sync::Arc};

/// A scenario on a kernel.
#[derive(Clone, Debug)]
pub struct Case {
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// What the kernel is called beside others; empty where there is only one.
    pub variant: String,
    /// The kernel, where it is not the scenario's choice.
    pub kernel: Wanted,
}

impl Case {
    /// The scenario's name, with the kernel's where there are several.
    pub fn title(&self) -> String {
        match self.variant.as_str() {
            "" => self.scenario.name.clone(),
            variant => format!("{} [{variant}]", self.scenario.name),
        }
    }

    /// The same in every run of the same command.
    pub fn id(&self) -> String {
        let path = self.scenario.path.display();
        if self.variant.is_empty() { path.to_string() } else { format!("{path}@{}", self.variant) }
    }
}

/// Each scenario on each kernel: those of the command line, where there are some, else those of the scenario's `matrix`, else
/// the one that it asks for. `common` goes to all of them.
pub fn cases(scenarios: Vec<Scenario>, kernels: &[String], common: &Wanted) -> Vec<Case> {
    let with = |kernel: Option<&String>| Wanted { kernel: kernel.cloned(), ..common.clone() };
    let of_one = |scenario: Scenario| {
        let folder = scenario.path.parent().unwrap_or(Path::new("")).to_owned();
        let wanted: Vec<Wanted> = match (kernels, &scenario.matrix[..]) {
            ([], []) => vec![common.clone()],
            ([], matrix) if common.source.is_none() => {
                matrix.iter().map(|one| common.clone().or(&one.clone().relative_to(&folder))).collect()
            }
            ([], _) => vec![common.clone()],
            (kernels, _) => kernels.iter().map(|kernel| with(Some(kernel))).collect(),
        };
        let names = if wanted.len() > 1 { names(&wanted) } else { vec![String::new()] };
        let scenario = Arc::new(scenario);
        let case = move |(kernel, variant)| Case { scenario: scenario.clone(), variant, kernel };
        wanted.into_iter().zip(names).map(case)
    };
    scenarios.into_iter().flat_map(of_one).collect()
}

/// A short name for each, none twice.
fn names(all: &[Wanted]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for wanted in all {
        let base = name(wanted);
        let mut unique = base.clone();
        let mut count = 2;
        while names.contains(&unique) {
            unique = format!("{base}#{count}");
            count += 1;
        }
        names.push(unique);
    }
    names
}

fn name(wanted: &Wanted) -> String {
    let last = |text: &String| text.trim_end_matches('/').rsplit('/').next().unwrap_or(text).to_owned();
    let mut name = wanted.kernel.as_ref().or(wanted.source.as_ref()).map_or("default".to_owned(), last);
    if let Some(revision) = &wanted.revision {
        name += &format!("#{revision}");
    }
    if let Some(config) = &wanted.config {
        name += &format!("+{}", last(config));
    }
    wanted.fragments.iter().for_each(|fragment| name += &format!("+{}", last(fragment)));
    if wanted.llvm.is_some() {
        name += "+llvm";
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use scenario::fixture::scenario;

    const MATRIX: &str = "matrix:\n- 6.12\n- {name: 7.3, fragments: [kasan]}\nsteps:\n- sleep: 1 s\n";

    fn ids(scenarios: &[&str], kernels: &[&str], common: &Wanted) -> Vec<String> {
        let kernels: Vec<String> = kernels.iter().map(|it| (*it).to_owned()).collect();
        let scenarios = scenarios.iter().map(|text| scenario(text)).collect();
        cases(scenarios, &kernels, common).iter().map(Case::id).collect()
    }

    #[test]
    fn a_matrix_has_a_name_for_each_kernel_and_the_command_line_goes_before_it() {
        let plain = "steps:\n- sleep: 1 s\n";
        let none = Wanted::default();
        let path = "scenarios/test.yaml";
        assert_eq!(ids(&[plain], &[], &none), [path]);
        assert_eq!(ids(&[plain], &["6.12"], &none), [path], "one kernel needs no name");
        assert_eq!(ids(&[plain, MATRIX], &["6.12", "7.3"], &none).len(), 4);
        assert_eq!(ids(&[MATRIX], &[], &none), [format!("{path}@6.12"), format!("{path}@7.3+kasan")]);
        assert_eq!(ids(&[MATRIX], &["6.1"], &none), [path]);
        let twice = ids(&[plain], &["6.12", "6.12"], &none);
        assert_eq!(twice, [format!("{path}@6.12"), format!("{path}@6.12#2")]);
    }

    #[test]
    fn fragments_of_the_command_line_go_to_every_kernel() {
        let common = Wanted { fragments: vec!["lockdep".into()], ..Wanted::default() };
        let all = cases(vec![scenario(MATRIX)], &[], &common);
        assert_eq!(all[1].kernel.fragments, ["kasan", "lockdep"]);
        assert_eq!(all[1].kernel.kernel.as_deref(), Some("7.3"));
        let all = cases(vec![scenario(MATRIX)], &["6.1".into(), "6.6".into()], &common);
        assert_eq!((all[0].variant.as_str(), &all[0].kernel.fragments), ("6.1+lockdep", &common.fragments));
    }
}
