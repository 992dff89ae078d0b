//! Small wrong versions of a solution: a test that none of them fails tests nothing.

use std::collections::BTreeSet;
use tree_sitter::{Node, Parser};

/// A wrong version of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// What was changed, and in which line.
    pub about: String,
    /// The file's text.
    pub text: String,
}

/// A change of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    start: usize,
    end: usize,
    with: String,
    about: String,
}

/// At most so many mutants, spread over the whole file.
pub fn of(text: &str, most: usize) -> Vec<Mutant> {
    let mut parser = Parser::new();
    if parser.set_language(&tree_sitter_c::LANGUAGE.into()).is_err() {
        return Vec::new();
    }
    let Some(tree) = parser.parse(text, None) else { return Vec::new() };
    let mut changes = Vec::new();
    walk(tree.root_node(), text, &mut changes);
    // In the order of the file, so that a few of them are spread over it.
    changes.sort_by_key(|change| change.start);
    let mut seen = BTreeSet::new();
    changes.retain(|change| seen.insert((change.start, change.end, change.with.clone())));
    let count = changes.len().min(most);
    let chosen = (0..count).map(|index| &changes[index * changes.len() / count]);
    let mutant = |change: &Change| {
        let line = 1 + text[..change.start].matches('\n').count();
        let about = format!("line {line}: {}", change.about);
        let text = format!("{}{}{}", &text[..change.start], change.with, &text[change.end..]);
        Mutant { about, text }
    };
    chosen.map(mutant).collect()
}

fn walk(node: Node<'_>, text: &str, changes: &mut Vec<Change>) {
    changes.extend(match node.kind() {
        "binary_expression" => bound(node, text),
        "if_statement" => check(node, text),
        "call_expression" => copy(node, text),
        "unary_expression" => errno(node, text),
        "expression_statement" => cleanup(node, text).or_else(|| order(node, text)),
        _ => None,
    });
    let mut cursor = node.walk();
    for child in node.children(&mut cursor) {
        walk(child, text, changes);
    }
}

fn change(node: Node<'_>, with: impl Into<String>, about: String) -> Option<Change> {
    Some(Change { start: node.start_byte(), end: node.end_byte(), with: with.into(), about })
}

/// Off by one.
fn bound(node: Node<'_>, text: &str) -> Option<Change> {
    let operator = node.child_by_field_name("operator")?;
    let other = match &text[operator.byte_range()] {
        "<" => "<=",
        "<=" => "<",
        ">" => ">=",
        ">=" => ">",
        _ => return None,
    };
    change(operator, other, format!("`{}` with {other}", brief(node, text)))
}

/// A check of which nothing follows. Its condition is still looked at: that may be a call.
fn check(node: Node<'_>, text: &str) -> Option<Change> {
    if node.child_by_field_name("alternative").is_some() {
        return None;
    }
    let condition = node.child_by_field_name("condition")?;
    let consequence = node.child_by_field_name("consequence")?;
    change(consequence, "{ }", format!("nothing follows from `if {}`", brief(condition, text)))
}

fn function<'t>(call: Node<'_>, text: &'t str) -> Option<&'t str> {
    let function = call.child_by_field_name("function")?;
    (function.kind() == "identifier").then(|| &text[function.byte_range()])
}

/// A copy that is not done, and says that it was.
fn copy(node: Node<'_>, text: &str) -> Option<Change> {
    const COPIES: &[&str] =
        &["copy_to_user", "copy_from_user", "put_user", "get_user", "clear_user", "strncpy_from_user"];
    let name = function(node, text)?;
    COPIES.contains(&name).then(|| change(node, "0", format!("no {name}")))?
}

/// What nobody misses at once: a lock that stays, memory that is never freed.
fn cleanup(node: Node<'_>, text: &str) -> Option<Change> {
    const ENDS: &[&str] = &["unlock", "free", "unregister", "_put", "destroy", "_del", "release", "up_"];
    let call = node.named_child(0).filter(|child| child.kind() == "call_expression")?;
    let name = function(call, text)?;
    ENDS.iter().any(|end| name.contains(end)).then(|| change(node, ";", format!("no {name}")))?
}

/// Two statements in the other order. Macros between functions are none, and mean the same in any.
fn order(node: Node<'_>, text: &str) -> Option<Change> {
    node.parent().filter(|parent| parent.kind() == "compound_statement")?;
    let next = node.next_named_sibling().filter(|next| next.kind() == "expression_statement")?;
    let (first, second) = (&text[node.byte_range()], &text[next.byte_range()]);
    let between = &text[node.end_byte()..next.start_byte()];
    let with = format!("{second}{between}{first}");
    let about = format!("`{}` after what follows it", brief(node, text));
    Some(Change { start: node.start_byte(), end: next.end_byte(), with, about })
}

/// An error that is told as success.
fn errno(node: Node<'_>, text: &str) -> Option<Change> {
    let name = text[node.byte_range()].strip_prefix("-E")?;
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    plain.then(|| change(node, "0", format!("0 for -E{name}")))?
}

/// One line of a node's text.
fn brief(node: Node<'_>, text: &str) -> String {
    let line = text[node.byte_range()].split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRIVER: &str = "static ssize_t f(char __user *to, size_t count)\n{\n\tif (count >= SIZE)\n\t\treturn -EINVAL;\n\
        \tmutex_lock(&lock);\n\tready = 1;\n\tif (copy_to_user(to, data, count)) {\n\t\tmutex_unlock(&lock);\n\t\treturn -EFAULT;\n\t}\n\
        \tmutex_unlock(&lock);\n\tkfree(data);\n\treturn count;\n}\n";

    #[test]
    fn mutants_are_what_students_get_wrong() {
        let mutants = of(DRIVER, 100);
        let about: Vec<&str> = mutants.iter().map(|mutant| &*mutant.about).collect();
        for wanted in [
            "line 3: `count >= SIZE` with >",
            "line 4: nothing follows from `if (count >= SIZE)`",
            "line 4: 0 for -EINVAL",
            "line 5: `mutex_lock(&lock);` after what follows it",
            "line 7: no copy_to_user",
            "line 8: no mutex_unlock",
            "line 9: 0 for -EFAULT",
            "line 12: no kfree",
        ] {
            assert!(about.contains(&wanted), "{wanted} is not in {about:#?}");
        }
        for mutant in &mutants {
            assert_ne!(mutant.text, DRIVER);
        }
        let between = of(&format!("{DRIVER}module_init(a);\nmodule_exit(b);\n"), 100);
        assert!(
            !between.iter().any(|mutant| mutant.about.contains("module_init")),
            "it means the same in any order"
        );
        let no_copy = mutants.iter().find(|mutant| mutant.about.contains("no copy")).unwrap();
        assert!(no_copy.text.contains("if (0) {"), "{}", no_copy.text);
    }

    #[test]
    fn a_few_are_spread_over_the_file_and_nonsense_has_none() {
        let few: Vec<Mutant> = of(DRIVER, 3);
        assert!(few.len() == 3 && few[0].about.starts_with("line 3") && !few[2].about.starts_with("line 4"));
        assert!(of("not C at all {{{", 10).is_empty() && of("", 10).is_empty() && of(DRIVER, 0).is_empty());
    }
}
