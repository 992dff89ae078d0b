//! What `dmesg` and the kernel's console put before a line of the log.

/// The line without `<4>`, `[    1.000000]`, `[Thu Nov 26 13:22:00 2026]`, `[   T12]`; `None` if it has nothing of these.
pub fn strip(line: &str) -> Option<&str> {
    let level = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    let level = level.filter(|(level, _)| is_digits(level) && level.len() <= 3).map(|(_, rest)| rest);
    let rest = level.unwrap_or(line);
    let time = bracket(rest).filter(|(inside, _)| is_time(inside)).map(|(_, rest)| rest);
    let rest = time.unwrap_or(rest);
    let caller = bracket(rest.trim_start()).filter(|(inside, _)| is_caller(inside)).map(|(_, rest)| rest);
    if level.is_none() && time.is_none() && caller.is_none() {
        return None;
    }
    let rest = caller.unwrap_or(rest);
    // One space belongs to the stamp, the others are indentation.
    Some(if time.is_some() || caller.is_some() { rest.strip_prefix(' ').unwrap_or(rest) } else { rest })
}

fn bracket(text: &str) -> Option<(&str, &str)> {
    let (inside, rest) = text.strip_prefix('[')?.split_once(']')?;
    Some((inside.trim_start(), rest))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_time(inside: &str) -> bool {
    let seconds = inside.split_once('.').is_some_and(|(whole, part)| is_digits(whole) && is_digits(part));
    let bytes = inside.as_bytes();
    // As ctime(3) writes it.
    seconds || (bytes.len() == 24 && bytes[13] == b':' && bytes[16] == b':')
}

/// A task or a CPU (`CONFIG_PRINTK_CALLER`).
fn is_caller(inside: &str) -> bool {
    inside.strip_prefix(['T', 'C']).is_some_and(is_digits)
}
