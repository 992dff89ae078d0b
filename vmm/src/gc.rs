//! Which of the things that are kept a `gc` removes.

use clap::{ArgGroup, Args};
use std::time::Duration;

/// What a `gc` is told.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").args(["keep", "older"]).multiple(true).required(true)))]
pub struct GcArgs {
    /// Keep so many of the most recently used ones
    #[arg(long, value_name = "N")]
    pub keep: Option<usize>,
    /// Remove only what was not used for so long: 12h, 30d, 8w
    #[arg(long, value_name = "TIME", value_parser = age)]
    pub older: Option<Duration>,
    /// Only say what would go
    #[arg(long)]
    pub dry_run: bool,
}

/// A number with its unit.
fn age(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number with h, d or w, such as 30d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let hours = match unit {
        'h' => 1,
        'd' => 24,
        'w' => 24 * 7,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    number.checked_mul(hours * 3600).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::{GcArgs, age};
    use clap::Parser;
    use std::time::Duration;

    #[derive(Debug, Parser)]
    struct Gc {
        #[command(flatten)]
        args: GcArgs,
    }

    #[test]
    fn what_is_missing_is_either_of_two() {
        let said = Gc::try_parse_from(["gc"]).unwrap_err().to_string();
        assert!(said.contains("--keep <N>") && said.contains("--older <TIME>"), "{said}");
        for words in
            [&["gc", "--keep", "3"][..], &["gc", "--older", "3d"], &["gc", "--keep", "3", "--older", "3d"]]
        {
            assert!(Gc::try_parse_from(words).is_ok(), "{words:?}");
        }
        let args = Gc::try_parse_from(["gc", "--keep", "3"]).unwrap().args;
        assert_eq!((args.keep, args.older, args.dry_run), (Some(3), None, false));
    }

    #[test]
    fn an_age_has_a_unit() {
        assert_eq!(age("2d"), Ok(Duration::from_secs(2 * 86_400)));
        assert_eq!(age("12h"), Ok(Duration::from_secs(12 * 3600)));
        for wrong in ["", "d", "12", "1y", "-1d", "1ü", "99999999999999999999d", "18446744073709551615w"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }
}
