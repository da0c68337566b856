//! The fields of one row as texts, made into the JSON object of an entry.

use super::RowFault;
use super::mapping::{Kind, LedgerField};
use crate::domain::decimal::{Decimal, DecimalError};
use crate::domain::transaction::TransactionType;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The fields of one row: numbers in plain notation, times in RFC 3339 or as a day, lots and metadata as JSON.
#[derive(Debug, Default)]
pub(super) struct Cells(pub(super) BTreeMap<LedgerField, String>);

impl Cells {
    pub(super) fn set(&mut self, field: LedgerField, text: impl Into<String>) {
        self.0.insert(field, text.into());
    }

    fn text(&self, field: LedgerField) -> Option<&str> {
        self.0.get(&field).map(String::as_str)
    }

    /// A field as a number; a text that is none is left to the rules of the entry.
    fn number(&self, field: LedgerField) -> Option<Decimal> {
        self.text(field).and_then(|text| Decimal::parse_input(text).ok())
    }

    fn kind(&self) -> Option<TransactionType> {
        self.text(LedgerField::Type).and_then(TransactionType::from_name)
    }

    /// Lets the sign of a quantity or an amount say which way it went, and takes fees and taxes by their size.
    pub(super) fn settle_signs(&mut self) {
        use TransactionType as T;
        let below = |cells: &Self, field| cells.number(field).is_some_and(|number| number.is_negative());
        let kind = self.kind();
        let turned = match kind {
            None if self.text(LedgerField::Type).is_none() && self.0.contains_key(&LedgerField::Quantity) => {
                Some(if below(self, LedgerField::Quantity) { T::Sell } else { T::Buy })
            }
            Some(T::Buy) if below(self, LedgerField::Quantity) => Some(T::Sell),
            Some(T::TransferIn) if below(self, LedgerField::Quantity) => Some(T::TransferOut),
            Some(T::Deposit) if below(self, LedgerField::Amount) => Some(T::Withdrawal),
            other => other,
        };
        if let Some(kind) = turned {
            self.set(LedgerField::Type, kind.name());
        }
        let keeps_sign = matches!(turned, Some(T::Dividend | T::Interest));
        for field in LedgerField::all().filter(|field| field.kind() == Kind::Number) {
            if keeps_sign && field == LedgerField::Amount {
                continue;
            }
            if let Some(text) = self.0.get_mut(&field)
                && let Some(size) = text.strip_prefix(['-', '+'])
            {
                *text = size.to_owned();
            }
        }
    }

    /// Fills in what other programs write in another place: the amount of a dividend or of interest as quantity x price,
    /// that of a fee or a tax in its own column; and leaves out a currency and zeros in fields its type does not take.
    ///
    /// # Errors
    /// An amount with more digits than an amount may have.
    pub(super) fn complete(&mut self) -> Result<(), RowFault> {
        use LedgerField as F;
        use TransactionType as T;
        let Some(kind) = self.kind() else { return Ok(()) };
        let nothing = |cells: &Self, field| cells.number(field).is_none_or(|number| number.is_zero());
        if matches!(kind, T::Dividend | T::Interest) && !self.0.contains_key(&F::Amount) {
            self.multiply()?;
        }
        let own = if kind == T::Fee { F::Fee } else { F::Tax };
        if matches!(kind, T::Fee | T::Tax)
            && nothing(self, F::Amount)
            && !nothing(self, own)
            && let Some(amount) = self.0.remove(&own)
        {
            self.set(F::Amount, amount);
        }
        if !kind.takes(F::Currency.name()) {
            self.0.remove(&F::Currency);
        }
        let idle: Vec<F> = self
            .0
            .keys()
            .copied()
            .filter(|field| field.kind() == Kind::Number && *field != F::Ratio && !kind.takes(field.name()))
            .filter(|field| self.number(*field).is_some_and(|number| number.is_zero()))
            .collect();
        for field in idle {
            self.0.remove(&field);
        }
        Ok(())
    }

    /// Sets the amount to quantity x price, where both are given.
    fn multiply(&mut self) -> Result<(), RowFault> {
        use LedgerField as F;
        let (Some(quantity), Some(price)) = (self.number(F::Quantity), self.number(F::Price)) else {
            return Ok(());
        };
        let product = (&quantity * &price).normalized().to_string();
        if Decimal::parse_input(&product) == Err(DecimalError::TooManyDigits) {
            let detail = format!("quantity x price is {product}, which {}", DecimalError::TooManyDigits);
            return Err(RowFault::at(F::Amount.name(), "too_many_digits", detail));
        }
        self.set(F::Amount, product);
        self.0.remove(&F::Quantity);
        self.0.remove(&F::Price);
        Ok(())
    }

    /// The JSON object of the entry.
    ///
    /// # Errors
    /// Lots or metadata that are no JSON, a flag that is neither true nor false.
    pub(super) fn into_json(self) -> Result<String, Vec<RowFault>> {
        let mut faults = Vec::new();
        let mut json = String::from("{");
        for (field, text) in self.0 {
            let value = match field.kind() {
                Kind::Json => match serde_json::from_str::<&RawValue>(&text) {
                    Ok(raw) => raw.get().to_owned(),
                    Err(error) => {
                        let detail = format!("is not JSON: {error}");
                        faults.push(RowFault::at(field.name(), "malformed_json", detail));
                        continue;
                    }
                },
                Kind::Flag if matches!(text.as_str(), "true" | "false") => text,
                Kind::Flag => {
                    faults.push(RowFault::at(field.name(), "wrong_type", "must be true or false"));
                    continue;
                }
                Kind::Number | Kind::FreeText | Kind::Name | Kind::Time => quoted(&text),
            };
            let comma = if json.len() > 1 { "," } else { "" };
            // Writing to a string cannot fail.
            write!(json, "{comma}\"{}\":{value}", field.name()).unwrap_or_default();
        }
        json.push('}');
        if faults.is_empty() { Ok(json) } else { Err(faults) }
    }
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
