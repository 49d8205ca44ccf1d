//! Names and keys of any shape: taken or refused, never a panic, and alike everywhere.

#![allow(clippy::unwrap_used)]

use mainstay::{CacheKey, Name};
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_name_is_taken_if_and_only_if_it_is_in_the_alphabet(text in "[ -~é\u{0}\n]{0,140}") {
        let legal = |c: char| c.is_ascii_alphanumeric() || "._:@-".contains(c);
        let expected = (1..=128).contains(&text.len()) && text.chars().all(legal);
        prop_assert_eq!(Name::new("user", &text).is_ok(), expected);
        let from_json = serde_json::from_value::<Name>(text.clone().into());
        prop_assert_eq!(from_json.is_ok(), expected, "read from JSON it is judged alike");
    }

    #[test]
    fn a_key_is_taken_if_and_only_if_it_is_short_and_printable(text in "(?s).{0,600}") {
        let expected = (1..=512).contains(&text.len()) && !text.chars().any(char::is_control);
        prop_assert_eq!(CacheKey::new(&text).is_ok(), expected);
        if let Ok(key) = CacheKey::new(&text) {
            prop_assert_eq!(key.as_str(), text);
        }
    }
}

#[test]
fn the_longest_name_and_key_are_taken_and_one_more_is_not() {
    Name::new("user", &"a".repeat(128)).unwrap();
    assert!(Name::new("user", &"a".repeat(129)).is_err());
    CacheKey::new(&"é".repeat(256)).unwrap();
    assert!(CacheKey::new(&"é".repeat(257)).is_err());
}
