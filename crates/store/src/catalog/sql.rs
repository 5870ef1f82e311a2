//! A query builder. Placeholders are `$1`, `$2`, …, which both databases accept.

use std::fmt::Display;

use az::SaturatingAs;
use sqlx::any::{AnyArguments, AnyQueryResult};
use sqlx::query::{Query, QueryAs, QueryScalar};
use sqlx::{Any, AnyConnection, Arguments, AssertSqlSafe, Encode, FromRow, Type};

use crate::error::Result;
use crate::limits;

/// The connection of a transaction.
pub(crate) type Connection = AnyConnection;

/// Returns a text that both databases accept. PostgreSQL rejects the NUL character, which is replaced by U+FFFD.
pub(crate) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Repeats a statement that changes at most [`limits::ROWS_CHANGED_TOGETHER`] rows until it changes fewer, and returns
/// the total number. Other writers can run between the repetitions. After an error, repeating the call changes the
/// remaining rows.
pub(crate) async fn changed_in_parts<F: Future<Output = sqlx::Result<AnyQueryResult>>>(
    change: impl Fn() -> F,
) -> Result<u64> {
    let mut changed = 0;
    loop {
        let some = change().await?.rows_affected();
        changed += some;
        if some.saturating_as::<i64>() < limits::ROWS_CHANGED_TOGETHER {
            return Ok(changed);
        }
    }
}

/// A query under construction.
pub(crate) struct Sql {
    text: String,
    arguments: AnyArguments,
    bound: usize,
}

impl Sql {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), arguments: AnyArguments::default(), bound: 0 }
    }

    /// Adds trusted text.
    pub(crate) fn push(&mut self, text: impl Display) -> &mut Self {
        self.text.push_str(&text.to_string());
        self
    }

    /// Adds a placeholder and its value.
    pub(crate) fn push_bind<'t, T: Encode<'t, Any> + Type<Any>>(&mut self, value: T) -> &mut Self {
        self.bound += 1;
        // Encoding cannot fail for text, numbers and booleans.
        let added = self.arguments.add(value);
        debug_assert!(added.is_ok());
        let number = self.bound;
        self.push(format_args!("${number}"))
    }

    /// Adds a comma, a placeholder and its value.
    pub(crate) fn push_next<'t, T: Encode<'t, Any> + Type<Any>>(&mut self, value: T) -> &mut Self {
        self.push(", ").push_bind(value)
    }

    /// Adds comma-separated placeholders.
    pub(crate) fn push_list<'t, T: Encode<'t, Any> + Type<Any>>(
        &mut self,
        values: impl IntoIterator<Item = T>,
    ) -> &mut Self {
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.push(", ");
            }
            self.push_bind(value);
        }
        self
    }

    pub(crate) fn build_query(self) -> Query<'static, Any, AnyArguments> {
        sqlx::query_with(AssertSqlSafe(self.text), self.arguments)
    }

    pub(crate) fn build_query_as<T: for<'r> FromRow<'r, sqlx::any::AnyRow>>(
        self,
    ) -> QueryAs<'static, Any, T, AnyArguments> {
        sqlx::query_as_with(AssertSqlSafe(self.text), self.arguments)
    }

    pub(crate) fn build_query_scalar<T>(self) -> QueryScalar<'static, Any, T, AnyArguments>
    where
        (T,): for<'r> FromRow<'r, sqlx::any::AnyRow>,
    {
        sqlx::query_scalar_with(AssertSqlSafe(self.text), self.arguments)
    }
}
