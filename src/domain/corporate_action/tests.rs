//! What each type needs, and when two say the same.

use super::*;
use uuid::Uuid;

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn bare(kind: ActionType) -> CorporateAction {
    CorporateAction {
        id: ActionId(Uuid::nil()),
        asset: AssetKey(1),
        place: 1,
        kind,
        executed_at: Moment::parse("2026-03-10T12:00:00Z").unwrap(),
        whole_day: false,
        ratio_num: None,
        ratio_den: None,
        amount: None,
        tax: Decimal::ZERO,
        currency: None,
        new_symbol: None,
    }
}

fn broken(action: &CorporateAction) -> Vec<(&'static str, &'static str)> {
    action.check().into_iter().map(|broken| (broken.field, broken.code)).collect()
}

#[test]
fn each_type_takes_its_own_fields() {
    let required = |kind| broken(&bare(kind));
    assert_eq!(required(ActionType::Split), [("ratio_num", "required"), ("ratio_den", "required")]);
    assert_eq!(required(ActionType::Dividend), [("amount", "required")]);
    assert_eq!(required(ActionType::SymbolChange), [("new_symbol", "required")]);
    let split = CorporateAction {
        ratio_num: Some(d("0")),
        ratio_den: Some(d("-1")),
        amount: Some(d("1")),
        tax: d("1"),
        new_symbol: Some("B".to_owned()),
        ..bare(ActionType::Split)
    };
    let faults = [
        ("amount", "not_used"),
        ("tax", "not_used"),
        ("new_symbol", "not_used"),
        ("ratio_num", "not_positive"),
        ("ratio_den", "not_positive"),
    ];
    assert_eq!(broken(&split), faults);
    let dividend = |amount, tax| {
        let action = CorporateAction { amount: Some(d(amount)), tax: d(tax), ..bare(ActionType::Dividend) };
        broken(&action)
    };
    assert_eq!(dividend("0.5", "0.5"), []);
    assert_eq!(dividend("0.5", "0.51"), [("tax", "too_large")]);
    assert_eq!(dividend("0", "-1"), [("amount", "not_positive"), ("tax", "negative")]);
}

#[test]
fn a_second_split_of_a_day_repeats_the_first_and_a_second_dividend_only_of_the_same_amount() {
    let split = |ratio: &str, at: &str| CorporateAction {
        ratio_num: Some(d(ratio)),
        executed_at: Moment::parse(at).unwrap(),
        ..bare(ActionType::Split)
    };
    let new_york = Tz::America__New_York;
    // 03:00Z on the eleventh is still the tenth in New York.
    assert!(split("2", "2026-03-10T12:00:00Z").repeats(&split("3", "2026-03-11T03:00:00Z"), new_york));
    assert!(!split("2", "2026-03-10T12:00:00Z").repeats(&split("2", "2026-03-11T12:00:00Z"), new_york));
    let dividend = |amount: &str| CorporateAction { amount: Some(d(amount)), ..bare(ActionType::Dividend) };
    assert!(dividend("0.50").repeats(&dividend("0.5"), new_york));
    assert!(!dividend("0.5").repeats(&dividend("2"), new_york));
    assert!(!dividend("0.5").repeats(&split("2", "2026-03-10T12:00:00Z"), new_york));
}

#[test]
fn an_action_repeats_none_of_another_asset_or_type() {
    let split = bare(ActionType::Split);
    let of_another = CorporateAction { asset: AssetKey(2), ..split.clone() };
    assert!(split.repeats(&split, Tz::UTC) && !split.repeats(&of_another, Tz::UTC));
    assert!(!split.repeats(&bare(ActionType::SymbolChange), Tz::UTC));
}
