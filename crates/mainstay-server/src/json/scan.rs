//! Reads JSON text once to refuse what decoders let pass: duplicate keys, endless depth, numbers
//! that lose digits, text that no store can keep.
//!
//! Stores differ in what they make of such input (the first of two equal keys or the last, a
//! rounded number or an error), so it is refused here, above all of them.

use std::{borrow::Cow, collections::HashSet};

/// The deepest nesting of arrays and objects.
pub(crate) const DEPTH_MAX: usize = 64;
/// The most items of one array.
pub(crate) const ITEMS_MAX: usize = 10_000;
/// The largest whole number: beyond it JSON readers disagree. 2^53 - 1.
pub(crate) const INTEGER_MAX: u64 = 9_007_199_254_740_991;

/// From so many keys of one object on, a set finds duplicates.
const KEYS_LINEAR_MAX: usize = 16;

/// Why a text is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not JSON, or says two things at once. The offset is in bytes.
    Syntax { offset: usize, reason: &'static str },
    /// It is JSON, but a value is outside what is taken.
    Value { path: String, reason: String },
}

/// Reads the whole text, without recursion. Syntax faults win over value faults.
pub(crate) fn scan(text: &str) -> Result<(), Fault> {
    let mut scan =
        Scan { text, bytes: text.as_bytes(), at: 0, frames: Vec::new(), keys: Vec::new(), fault: None };
    scan.document()?;
    scan.fault.map_or(Ok(()), Err)
}

struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    frames: Vec<Frame<'a>>,
    /// The keys of all open objects, those of the innermost last.
    keys: Vec<Cow<'a, str>>,
    /// The first value fault; reading goes on, to find out whether the text is JSON at all.
    fault: Option<Fault>,
}

enum Frame<'a> {
    Array { items: usize },
    Object { first_key: usize, seen: HashSet<Cow<'a, str>> },
}

impl<'a> Scan<'a> {
    fn document(&mut self) -> Result<(), Fault> {
        self.space();
        self.value()?;
        while !self.frames.is_empty() {
            self.step()?;
        }
        self.space();
        if self.at < self.bytes.len() { self.syntax("there is more after the end") } else { Ok(()) }
    }

    /// Goes on after a value within the innermost array or object.
    fn step(&mut self) -> Result<(), Fault> {
        self.space();
        let in_object = matches!(self.frames.last(), Some(Frame::Object { .. }));
        match (self.peek(), in_object) {
            (Some(b']'), false) | (Some(b'}'), true) => {
                self.at += 1;
                self.close();
                Ok(())
            }
            (Some(b','), true) => {
                self.at += 1;
                self.member()
            }
            (Some(b','), false) => {
                self.at += 1;
                self.space();
                self.item()
            }
            (Some(_), _) => self.syntax("expected a comma or an end"),
            (None, _) => self.syntax("the text ends too early"),
        }
    }

    fn close(&mut self) {
        if let Some(Frame::Object { first_key, .. }) = self.frames.pop() {
            self.keys.truncate(first_key);
        }
    }

    fn value(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'{') => self.open_object(),
            Some(b'[') => self.open_array(),
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            Some(_) => self.syntax("expected a value"),
            None => self.syntax("the text ends too early"),
        }
    }

    fn open_array(&mut self) -> Result<(), Fault> {
        self.at += 1;
        self.push(Frame::Array { items: 0 })?;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            self.close();
            return Ok(());
        }
        self.item()
    }

    fn item(&mut self) -> Result<(), Fault> {
        if let Some(Frame::Array { items }) = self.frames.last_mut() {
            *items += 1;
            if *items == ITEMS_MAX + 1 {
                self.refuse(format!("An array may have at most {ITEMS_MAX} items."));
            }
        }
        self.value()
    }

    fn open_object(&mut self) -> Result<(), Fault> {
        self.at += 1;
        self.push(Frame::Object { first_key: self.keys.len(), seen: HashSet::new() })?;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.close();
            return Ok(());
        }
        self.member()
    }

    fn member(&mut self) -> Result<(), Fault> {
        self.space();
        let start = self.at;
        if self.peek() != Some(b'"') {
            return self.syntax("expected a key in quotes");
        }
        let key = self.string()?;
        if !self.remember(key) {
            return Err(Fault::Syntax { offset: start, reason: "the same key stands twice in one object" });
        }
        self.space();
        if self.peek() != Some(b':') {
            return self.syntax("expected a colon");
        }
        self.at += 1;
        self.space();
        self.value()
    }

    /// `false`: the innermost object has this key already.
    fn remember(&mut self, key: Cow<'a, str>) -> bool {
        let Some(Frame::Object { first_key, seen }) = self.frames.last_mut() else { return true };
        let open = &self.keys[*first_key..];
        let is_new = if open.len() < KEYS_LINEAR_MAX {
            !open.contains(&key)
        } else {
            if seen.is_empty() {
                seen.extend(open.iter().cloned());
            }
            seen.insert(key.clone())
        };
        self.keys.push(key);
        is_new
    }

    fn push(&mut self, frame: Frame<'a>) -> Result<(), Fault> {
        if self.frames.len() == DEPTH_MAX {
            // Nothing good can follow, and the stack must not grow with the text.
            return Err(Fault::Value {
                path: self.path(),
                reason: format!("Values may be nested at most {DEPTH_MAX} deep."),
            });
        }
        self.frames.push(frame);
        Ok(())
    }

    fn literal(&mut self, word: &'static str) -> Result<(), Fault> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            self.syntax("expected a value")
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let whole = self.at;
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return self.syntax("expected a digit"),
        }
        let whole = &self.text[whole..self.at];
        let mut is_integer = true;
        if self.peek() == Some(b'.') {
            self.at += 1;
            is_integer = false;
            self.some_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            is_integer = false;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        if is_integer {
            if whole.parse::<u64>().map_or(true, |n| n > INTEGER_MAX) {
                self.refuse(format!(
                    "Whole numbers must be within -{INTEGER_MAX} and {INTEGER_MAX}; write larger ones as text."
                ));
            }
        } else if !self.text[start..self.at].parse::<f64>().is_ok_and(f64::is_finite) {
            self.refuse("The number is too large.".into());
        }
        Ok(())
    }

    fn some_digits(&mut self) -> Result<(), Fault> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.syntax("expected a digit");
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    /// Reads a string and gives its text; where an escape is no character, the text as written.
    fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        let start = self.at;
        self.at += 1;
        let mut is_plain = true;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    is_plain = false;
                    self.escape()?;
                }
                Some(0..=0x1f) => return self.syntax("a control character must be escaped"),
                Some(_) => self.at += 1,
                None => return self.syntax("the text ends too early"),
            }
        }
        let inner = &self.text[start + 1..self.at];
        self.at += 1;
        if is_plain {
            return Ok(Cow::Borrowed(inner));
        }
        let decoded = serde_json::from_str::<String>(&self.text[start..self.at]);
        Ok(decoded.map_or(Cow::Borrowed(inner), Cow::Owned))
    }

    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                self.at += 1;
                self.unicode_escape()
            }
            _ => self.syntax("there is no such escape"),
        }
    }

    fn unicode_escape(&mut self) -> Result<(), Fault> {
        match self.hex4()? {
            0 => self.refuse("Text must not hold the character NUL.".into()),
            0xd800..=0xdbff => {
                let has_low = self.bytes[self.at..].starts_with(b"\\u");
                let back = self.at;
                if has_low {
                    self.at += 2;
                    if (0xdc00..=0xdfff).contains(&self.hex4()?) {
                        return Ok(());
                    }
                    self.at = back;
                }
                self.refuse("Text must not hold half of a surrogate pair.".into());
            }
            0xdc00..=0xdfff => self.refuse("Text must not hold half of a surrogate pair.".into()),
            _ => {}
        }
        Ok(())
    }

    fn hex4(&mut self) -> Result<u32, Fault> {
        let mut value = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|b| char::from(b).to_digit(16)) else {
                return self.syntax("expected four hexadecimal digits");
            };
            value = value * 16 + digit;
            self.at += 1;
        }
        Ok(value)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn syntax<T>(&self, reason: &'static str) -> Result<T, Fault> {
        Err(Fault::Syntax { offset: self.at, reason })
    }

    fn refuse(&mut self, reason: String) {
        if self.fault.is_none() {
            self.fault = Some(Fault::Value { path: self.path(), reason });
        }
    }

    /// Where the reader stands, as in `items[3].key`.
    fn path(&self) -> String {
        let mut path = String::new();
        let mut frames = self.frames.iter().peekable();
        while let Some(frame) = frames.next() {
            match frame {
                Frame::Array { items } => path.push_str(&format!("[{}]", items.saturating_sub(1))),
                Frame::Object { first_key, .. } => {
                    let end = frames.clone().find_map(|frame| match frame {
                        Frame::Object { first_key, .. } => Some(*first_key),
                        Frame::Array { .. } => None,
                    });
                    let keys = &self.keys[*first_key..end.unwrap_or(self.keys.len())];
                    if let Some(key) = keys.last() {
                        if !path.is_empty() {
                            path.push('.');
                        }
                        path.extend(key.chars().take(128));
                    }
                }
            }
        }
        if path.is_empty() { "body".into() } else { path }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn syntax(text: &str) -> &'static str {
        match scan(text) {
            Err(Fault::Syntax { reason, .. }) => reason,
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    fn refused_at(text: &str) -> String {
        match scan(text) {
            Err(Fault::Value { path, .. }) => path,
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "'a'",
            "NaN",
            "Infinity",
            "-",
            "01",
            "1.",
            "1e",
            "+1",
            "// x\n1",
            "1 2",
            "{} {}",
            "\u{feff}{}",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"a\nb\"",
            "tru",
            "[1",
            "\"a",
            "[}",
            "{]",
            "{\"a\"}",
            "{\"a\" 1}",
        ] {
            syntax(text);
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_at_any_depth_and_in_any_spelling() {
        for text in [r#"{"a":1,"a":2}"#, r#"[{"x":{"a":1,"b":2,"a":1}}]"#, r#"{"a":1,"\u0061":2}"#] {
            assert_eq!(syntax(text), "the same key stands twice in one object");
        }
        let many: Vec<_> = (0..100).map(|i| format!("\"k{i}\":0")).collect();
        assert_eq!(scan(&format!("{{{}}}", many.join(","))), Ok(()));
        syntax(&format!("{{{},\"k70\":0}}", many.join(",")));
        assert_eq!(scan(r#"{"a":{"a":1},"b":[{"a":1},{"a":1}]}"#), Ok(()));
    }

    #[test]
    fn values_that_no_store_keeps_are_refused_by_their_path() {
        assert_eq!(refused_at(r#"{"a":{"b":[1,"\u0000"]}}"#), "a.b[1]");
        assert_eq!(refused_at(r#"{"a":"\ud800"}"#), "a");
        assert_eq!(refused_at(r#"{"a":"\udc00x"}"#), "a");
        assert_eq!(refused_at(r#"{"a":"\ud800\u0041"}"#), "a");
        assert_eq!(refused_at(r#"{"a":1,"b":9007199254740992}"#), "b");
        assert_eq!(refused_at(r#"[-9007199254740992]"#), "[0]");
        assert_eq!(refused_at(r#"{"a":1e400}"#), "a");
        assert_eq!(refused_at(r#"99999999999999999999999"#), "body");
        assert_eq!(scan(r#"["\ud83d\ude00", 9007199254740991, -9007199254740991, 1e308, -0.5]"#), Ok(()));
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert_eq!(scan(&nested(DEPTH_MAX)), Ok(()));
        refused_at(&nested(DEPTH_MAX + 1));
        refused_at(&"[".repeat(1_000_000));
        let list = |n: usize| format!("{{\"a\":[{}]}}", vec!["1"; n].join(","));
        assert_eq!(scan(&list(ITEMS_MAX)), Ok(()));
        assert_eq!(refused_at(&list(ITEMS_MAX + 1)), "a[10000]");
    }

    #[test]
    fn broken_text_wins_over_a_bad_value() {
        syntax(r#"{"a":1e400"#);
    }

    proptest! {
        #[test]
        fn what_passes_is_json_for_the_decoder_too(text in r#"[\[\]{}",:0-9eE+.\\untrfalse-]{0,24}"#) {
            if scan(&text).is_ok() {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
            }
        }

        #[test]
        fn what_the_decoder_writes_passes(map in proptest::collection::btree_map("[^\0]{0,8}", -1_000_000i64..1_000_000, 0..40)) {
            prop_assert_eq!(scan(&serde_json::to_string(&map).unwrap()), Ok(()));
        }

        #[test]
        fn no_text_panics(text in ".{0,64}") {
            let _ = scan(&text);
        }
    }
}
