//! The configuration that a scenario says it needs, against the kernel's.

use base::diagnostic::{Diagnostic, Diagnostics};
use module::preflight::Facts;
use scenario::{ConfigNeed, Scenario};

/// What the kernel lacks; `None` if it has everything, or does not tell. Processors beyond its own number of them are a
/// need as well.
pub fn lacking(scenario: &Scenario, facts: &Facts) -> Option<Diagnostics> {
    let config = facts.config.as_ref()?;
    let lacking: Vec<Diagnostic> = scenario
        .needs
        .iter()
        .filter_map(|need| {
            let ConfigNeed { symbol, value, span } = need;
            let found = config.get(symbol.trim_start_matches("CONFIG_")).map_or("n", String::as_str);
            let held = match value {
                Some(value) => found == value,
                None => matches!(found, "y" | "m"),
            };
            if held {
                return None;
            }
            let is = if found == "n" { "is not set".to_owned() } else { format!("is {found}") };
            let wanted = value.as_deref().unwrap_or("y");
            let help = match wanted {
                "n" => format!("put `# {symbol} is not set` into a configuration fragment of the kernel"),
                _ => format!("put `{symbol}={wanted}` into a configuration fragment of the kernel"),
            };
            let message = format!("in kernel {} {symbol} {is}, and this scenario needs it", facts.release);
            let message = if value.is_some() { format!("{message} to be {wanted}") } else { message };
            Some(Diagnostic::new(span, message).help(help))
        })
        .collect();
    let lacking: Vec<Diagnostic> = lacking.into_iter().chain(processors(scenario, facts)).collect();
    (!lacking.is_empty()).then(|| Diagnostics::new(scenario.source.clone(), lacking))
}

/// A kernel that knows fewer processors than the machine has would leave the others alone without a word.
fn processors(scenario: &Scenario, facts: &Facts) -> Option<Diagnostic> {
    let config = facts.config.as_ref()?;
    let most = match config.get("SMP").map(String::as_str) {
        Some("y") => config.get("NR_CPUS")?.parse().ok()?,
        _ => 1,
    };
    let wanted = u32::from(scenario.machine.vcpus);
    if wanted <= most {
        return None;
    }
    let message = format!("kernel {} has room for {most} processors, not for {wanted}", facts.release);
    let help =
        format!("write `cpus: {most}`, or put `CONFIG_NR_CPUS={wanted}` into a configuration fragment");
    Some(Diagnostic::new(&scenario.machine.vcpus_at, message).help(help))
}

#[cfg(test)]
mod tests {
    use super::*;
    use scenario::fixture::scenario;

    fn messages(needs: &str) -> String {
        let config = [("SMP", "y"), ("FAT", "m"), ("HZ", "250"), ("KASAN", "n")];
        let config = config.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let facts = Facts { release: "6.12".into(), config: Some(config), ..Facts::default() };
        let scenario = scenario(&format!("needs: {{config: {needs}}}\nsteps:\n  - sleep: 1 ms\n"));
        lacking(&scenario, &facts).map_or(String::new(), |diagnostics| diagnostics.to_string())
    }

    #[test]
    fn what_the_kernel_has_is_no_problem() {
        assert_eq!(
            messages("[CONFIG_SMP, CONFIG_FAT, CONFIG_SMP=y, CONFIG_HZ=250, CONFIG_KASAN=n, CONFIG_NO=n]"),
            ""
        );
    }

    #[test]
    fn what_it_lacks_is_shown_with_its_line_and_what_to_do() {
        let text = messages("[CONFIG_KASAN]");
        assert!(text.contains("in kernel 6.12 CONFIG_KASAN is not set"), "{text}");
        assert!(text.contains("test.yaml:1:") && text.contains("put `CONFIG_KASAN=y` into"), "{text}");
        assert!(
            messages("CONFIG_HZ=1000").contains("CONFIG_HZ is 250, and this scenario needs it to be 1000")
        );
        assert!(messages("CONFIG_SMP=n").contains("put `# CONFIG_SMP is not set`"));
    }

    #[test]
    fn processors_that_the_kernel_has_no_room_for_are_told_before_the_boot() {
        let with = |cpus: u32, config: &[(&str, &str)]| {
            let config =
                config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let facts = Facts { release: "6.12".into(), config: Some(config), ..Facts::default() };
            let scenario = scenario(&format!("machine: {{cpus: {cpus}}}\nsteps:\n  - sleep: 1 ms\n"));
            lacking(&scenario, &facts).map_or(String::new(), |diagnostics| diagnostics.to_string())
        };
        let smp = [("SMP", "y"), ("NR_CPUS", "16")];
        assert_eq!(with(16, &smp), "");
        let text = with(17, &smp);
        assert!(text.contains("room for 16 processors, not for 17") && text.contains("cpus: 17"), "{text}");
        assert!(with(2, &[("SMP", "n")]).contains("room for 1 processors"), "{}", with(2, &[("SMP", "n")]));
        // A kernel that does not say how many.
        assert_eq!(with(17, &[("SMP", "y")]), "");
    }
}
