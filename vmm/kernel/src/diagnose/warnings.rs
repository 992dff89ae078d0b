//! Warnings of a build: each kind a few times, and all counted.

use super::{
    Context, changes,
    message::{Message, Severity, messages},
    plain,
};
use std::collections::BTreeMap;

/// So many different ones that one option of the compiler asks for are shown.
const SHOWN: usize = 5;

/// Alike warnings: of one text, at several places.
struct Alike {
    lines: Vec<String>,
    /// `-Wformat=`; empty where the compiler names none.
    option: String,
    /// Where else, as shown.
    others: Vec<String>,
}

/// The warnings of compilers and modpost, each with the lines that show its place. Those of one text are one, and
/// counted.
pub fn warnings(lines: &[String], context: &Context) -> Vec<String> {
    let Context { places, release, .. } = context;
    let mut all: Vec<Alike> = Vec::new();
    let mut by_text: BTreeMap<String, usize> = BTreeMap::new();
    for message in messages(&plain(lines)).iter().filter(|it| it.severity == Severity::Warning) {
        if is_summary(&message.text) {
            continue;
        }
        let mut shown = message.shown(places);
        let place = shown[0].split(": ").next().unwrap_or_default().to_owned();
        // rustc has the place in the next line.
        let text = if message.place.is_empty() { shown.join("\n") } else { message.text.clone() };
        if let Some(index) = by_text.get(&text) {
            let alike = &mut all[*index];
            if !alike.lines[0].starts_with(&format!("{place}: ")) && !alike.others.contains(&place) {
                alike.others.push(place);
            }
            continue;
        }
        shown.extend(changes::find(message, release).map(|change| change.advice()).into_iter().flatten());
        by_text.insert(text, all.len());
        all.push(Alike { lines: shown, option: option(message), others: Vec::new() });
    }
    render(all)
}

fn render(all: Vec<Alike>) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut hidden: BTreeMap<String, usize> = BTreeMap::new();
    let mut warnings = Vec::new();
    for Alike { mut lines, option, others } in all {
        let count = seen.entry(option.clone()).or_default();
        *count += 1;
        if *count > SHOWN && !option.is_empty() {
            *hidden.entry(option).or_default() += 1 + others.len();
            continue;
        }
        if let Some(last) = others.last() {
            lines[0] += &match others.len() {
                1 => format!(" (and the same at {last})"),
                n => format!(" (and {n} times more, the last at {last})"),
            };
        }
        warnings.push(lines.join("\n"));
    }
    warnings.extend(
        hidden.into_iter().map(|(option, count)| format!("{count} more warnings of the kind [{option}]")),
    );
    warnings
}

/// How many warnings these are that [`warnings`] made of all.
pub fn count(warnings: &[String]) -> usize {
    let more = |text: &str| -> Option<usize> {
        let first = text.lines().next()?;
        if let Some((number, _)) = first.split_once(" more warnings of the kind [") {
            // It stands for others, and is none itself.
            return number.parse::<usize>().ok()?.checked_sub(1);
        }
        let (_, others) = first.rsplit_once(" (and ")?;
        match others.split_once(" times more, the last at ") {
            Some((number, _)) => number.parse().ok(),
            None => others.starts_with("the same at ").then_some(1),
        }
    };
    warnings.iter().map(|text| 1 + more(text).unwrap_or(0)).sum()
}

/// What compilers add when they have counted.
fn is_summary(text: &str) -> bool {
    text.ends_with(" warnings emitted") || text.ends_with(" warning emitted")
}

/// `-Wformat=` of `text [-Wformat=]`.
fn option(message: &Message) -> String {
    let option = message.text.strip_suffix(']').and_then(|text| text.rsplit_once(" [-W"));
    option.map_or(String::new(), |(_, option)| format!("-W{option}"))
}

#[cfg(test)]
mod tests {
    use super::{super::Places, *};
    use std::path::Path;

    fn of(text: &str) -> Vec<String> {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let places = Places::of_module(Path::new("/copy"), Path::new("mods/hello"))
            .and(Path::new("/kernel/source"), Path::new(""));
        warnings(&lines, &Context { places, release: "6.12.1", headers: None, source: None })
    }

    /// As gcc 12 says it of `pr_info("%d\n", long)` in a module for 6.12.
    const FORMAT: &str = "\
In file included from /kernel/source/include/asm-generic/bug.h:22,
                 from /kernel/source/include/linux/module.h:12,
                 from /copy/a.c:1:
/copy/a.c: In function 'init':
/kernel/source/include/linux/kern_levels.h:5:25: warning: format '%d' expects argument of type 'int', but argument 2 has type 'long int' [-Wformat=]
    5 | #define KERN_SOH        \"\\001\"          /* ASCII Start Of Header */
      |                         ^~~~~~
/kernel/source/include/linux/printk.h:567:9: note: in expansion of macro 'printk'
  567 |         printk(KERN_INFO pr_fmt(fmt), ##__VA_ARGS__)
      |         ^~~~~~
/copy/a.c:LINE:2: note: in expansion of macro 'pr_info'
  LINE |  pr_info(\"%d\\n\", x);
      |  ^~~~~~~
";

    #[test]
    fn the_authors_own_line_is_shown() {
        let [warning] = &of(&FORMAT.replace("LINE", "7"))[..] else { panic!() };
        let lines: Vec<&str> = warning.lines().collect();
        assert_eq!(
            lines[0],
            "mods/hello/a.c:7:2: warning: format '%d' expects argument of type 'int', but argument 2 has type 'long int' [-Wformat=]"
        );
        assert_eq!(lines[1..], ["  7 |  pr_info(\"%d\\n\", x);", "      |  ^~~~~~~"]);
    }

    #[test]
    fn alike_ones_are_counted() {
        let text: String = (1..=240).map(|line| FORMAT.replace("LINE", &line.to_string())).collect();
        let [warning] = &of(&text)[..] else { panic!() };
        let head = warning.lines().next().unwrap();
        assert!(head.starts_with("mods/hello/a.c:1:2: warning: "), "{head}");
        assert!(head.ends_with(" (and 239 times more, the last at mods/hello/a.c:240:2)"), "{head}");
        let told: Vec<String> =
            [head, "a.c:1: x (and the same at b.c:2)", "a.c:3: y"].map(str::to_owned).into();
        assert_eq!(count(&told), 240 + 2 + 1);
        // A header's warning comes again with each file that includes it.
        let again = "/copy/a.h:1:1: warning: unused\n".repeat(3);
        assert_eq!(of(&again), ["mods/hello/a.h:1:1: warning: unused"]);
        let twice = "/copy/a.c:1:1: warning: x\n/copy/a.c:2:1: warning: x\n";
        assert_eq!(of(twice), ["mods/hello/a.c:1:1: warning: x (and the same at mods/hello/a.c:2:1)"]);
    }

    #[test]
    fn of_a_kind_a_few_are_shown() {
        let line = |n: u32| format!("/copy/a.c:{n}:1: warning: unused variable 'v{n}' [-Wunused-variable]\n");
        let text: String = (1..=9).map(line).collect();
        let all = of(&text);
        assert_eq!(all.len(), SHOWN + 1, "{all:?}");
        assert_eq!(all[SHOWN], "4 more warnings of the kind [-Wunused-variable]");
        assert_eq!(count(&all), SHOWN + 4);
    }

    #[test]
    fn a_warning_in_a_header_names_who_includes_it() {
        let text = "In file included from /copy/a.c:3:\n/kernel/source/include/linux/x.h:5:1: warning: odd\n    5 | odd\n";
        assert_eq!(
            of(text),
            [
                "include/linux/x.h:5:1: warning: odd\n    5 | odd\nmods/hello/a.c:3: this line includes the file with the warning"
            ]
        );
    }

    #[test]
    fn rustcs_are_told_apart_by_their_place() {
        let one = |line: u32| {
            format!("warning: unused variable: `x`\n --> /copy/a.rs:{line}:5\n  |\n{line} |     let x;\n\n")
        };
        let all = of(&format!("{}{}{}warning: 2 warnings emitted\n", one(1), one(1), one(2)));
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(all[0].contains("\n --> mods/hello/a.rs:1:5\n"), "{all:?}");
    }
}
