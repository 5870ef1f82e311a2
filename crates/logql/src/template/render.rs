//! Renders templates.

use std::cell::Cell;

use crate::labels::Entry;
use crate::template::functions::{Call, Failure, Function};
use crate::template::parse::{Expr, Part, Pipeline};
use crate::template::value::{Kind, Text, Value, sorted};

/// Charged against the size limit for each step of a loop, so that loops are bounded. Unit: bytes.
const STEP_BYTES: usize = 64;

/// How much text a function in a loop may read for each byte that a template may still make. Unit: bytes.
const READ_BYTES_PER_BYTE: usize = 8;

/// Renders parts for a record.
pub(super) struct Renderer<'v, 'l> {
    pub(super) entry: &'v Entry<'v>,
    /// Now, in nanoseconds since the epoch.
    pub(super) now_ns: i64,
    /// Remaining size of the data that may be derived from the record. Unit: bytes.
    pub(super) left: &'l mut usize,
    pub(super) output: String,
    /// The values of the variables, by number.
    pub(super) variables: Vec<Value<'v>>,
    /// Number of enclosing loops.
    pub(super) loops: usize,
}

/// The control flow after a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Break,
    Continue,
}

type Rendered<T> = Result<T, Failure>;

impl<'v> Renderer<'v, '_> {
    /// Appends the text of parts.
    pub(super) fn parts(&mut self, parts: &'v [Part], dot: &Value<'v>) -> Rendered<Flow> {
        for part in parts {
            if self.loops > 0 {
                self.take(STEP_BYTES)?;
            }
            let flow = match part {
                Part::Text(text) => self.append(text)?,
                Part::Action(pipeline) => self.action(pipeline, dot)?,
                Part::If { condition, then, otherwise } => {
                    let is_true = self.pipeline(condition, dot)?.is_true();
                    self.parts(if is_true { then } else { otherwise }, dot)?
                }
                Part::With { value, then, otherwise } => {
                    let value = self.pipeline(value, dot)?;
                    match value.is_true() {
                        true => self.parts(then, &value)?,
                        false => self.parts(otherwise, dot)?,
                    }
                }
                Part::Range { list, body, otherwise } => self.range(list, body, otherwise, dot)?,
                Part::Break => Flow::Break,
                Part::Continue => Flow::Continue,
            };
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn take(&mut self, bytes: usize) -> Rendered<()> {
        *self.left = self.left.checked_sub(bytes).ok_or(Failure::TooLarge)?;
        Ok(())
    }

    fn append(&mut self, text: &str) -> Rendered<Flow> {
        self.take(text.len())?;
        self.output.push_str(text);
        Ok(Flow::Next)
    }

    fn action(&mut self, pipeline: &'v Pipeline, dot: &Value<'v>) -> Rendered<Flow> {
        let value = self.pipeline(pipeline, dot)?;
        if !pipeline.variables.is_empty() {
            return Ok(Flow::Next);
        }
        match value {
            Value::Nil => self.append("<no value>"),
            Value::Text(text) => self.append(&text),
            value => {
                let mut printed = String::new();
                if !value.print(&mut printed, *self.left) {
                    return Err(Failure::TooLarge);
                }
                self.append(&printed)
            }
        }
    }

    fn pipeline(&mut self, pipeline: &'v Pipeline, dot: &Value<'v>) -> Rendered<Value<'v>> {
        let value = self.value(&pipeline.value, dot)?;
        if let [variable] = pipeline.variables.as_slice() {
            self.variables[*variable] = value.clone();
        }
        Ok(value)
    }

    fn range(
        &mut self,
        list: &'v Pipeline,
        body: &'v [Part],
        otherwise: &'v [Part],
        dot: &Value<'v>,
    ) -> Rendered<Flow> {
        let value = self.value(&list.value, dot)?;
        let elements: Vec<(Value<'v>, Value<'v>)> = match &value {
            Value::Nil => Vec::new(),
            Value::List(elements) => {
                self.take(elements.len().saturating_mul(STEP_BYTES))?;
                (0..).map(Value::Int).zip(elements.iter().cloned()).collect()
            }
            Value::Map(members) => {
                self.take(members.len().saturating_mul(STEP_BYTES))?;
                members.iter().map(|(name, member)| (Value::text(name.as_str()), member.clone())).collect()
            }
            Value::Labels(labels) => {
                let pairs = sorted(labels).into_iter();
                pairs.map(|(name, value)| (Value::borrowed(name), Value::borrowed(value))).collect()
            }
            Value::Int(count) | Value::Int64(count) => {
                let count = usize::try_from(*count).unwrap_or(0);
                self.take(count.saturating_mul(STEP_BYTES))?;
                (0..).take(count).map(|number| (Value::Int(number), Value::Int(number))).collect()
            }
            other => return Err(Failure::Wrong(format!("range can't iterate over {}", other.type_name()))),
        };
        if elements.is_empty() {
            return self.parts(otherwise, dot);
        }
        self.loops += 1;
        for (position, element) in elements {
            match list.variables.as_slice() {
                [variable] => self.variables[*variable] = element.clone(),
                [key, variable] => {
                    self.variables[*key] = position;
                    self.variables[*variable] = element.clone();
                }
                _ => {}
            }
            if self.parts(body, &element)? == Flow::Break {
                break;
            }
        }
        self.loops -= 1;
        Ok(Flow::Next)
    }

    fn value(&mut self, expr: &'v Expr, dot: &Value<'v>) -> Rendered<Value<'v>> {
        Ok(match expr {
            Expr::Dot => dot.clone(),
            Expr::Nil => Value::Nil,
            Expr::Bool(is_true) => Value::Bool(*is_true),
            Expr::Whole(number) => Value::Int(*number),
            Expr::Fraction(number) => Value::Float(*number),
            Expr::Text(text) => Value::borrowed(text),
            Expr::Variable(number) => self.variables.get(*number).cloned().unwrap_or(Value::Nil),
            Expr::Member(of, names) => {
                let mut value = self.value(of, dot)?;
                for name in names {
                    value = self.member(&value, name)?;
                }
                value
            }
            Expr::Call { function, args, regex } => {
                if matches!(function.name, "and" | "or") {
                    return self.first_of(function.name == "or", args, dot);
                }
                let args = self.arguments(function, args, dot)?;
                if self.loops > 0 {
                    let texts = args.iter().filter(|arg| matches!(arg, Value::Text(_))).filter_map(Value::len);
                    self.take(texts.fold(0, usize::saturating_add) / READ_BYTES_PER_BYTE)?;
                }
                let call = Call {
                    args,
                    entry: self.entry,
                    now_ns: self.now_ns,
                    bytes_max: *self.left,
                    values_bytes: Cell::default(),
                    regex: regex.as_ref(),
                };
                let value = (function.call)(&call).map_err(|failure| in_function(failure, function))?;
                self.take(call.values_bytes.get())?;
                if let Value::Text(Text::Made(text)) = &value {
                    self.take(text.len())?;
                }
                value
            }
        })
    }

    /// Returns the first argument that determines the result: a true one for `or`, a false one for `and`; else the
    /// last.
    fn first_of(&mut self, is_or: bool, args: &'v [Expr], dot: &Value<'v>) -> Rendered<Value<'v>> {
        let mut value = Value::Nil;
        for arg in args {
            value = self.value(arg, dot)?;
            if value.is_true() == is_or {
                break;
            }
        }
        Ok(value)
    }

    fn arguments(
        &mut self,
        function: &'static Function,
        args: &'v [Expr],
        dot: &Value<'v>,
    ) -> Rendered<Vec<Value<'v>>> {
        let mut values = Vec::with_capacity(args.len());
        for (index, arg) in args.iter().enumerate() {
            let kind = function.parameter(index).unwrap_or(Kind::Any);
            let value = match (arg, kind) {
                #[expect(clippy::cast_precision_loss, reason = "a constant as a float")]
                (Expr::Whole(number), Kind::Float) => Value::Float(*number as f64),
                (Expr::Fraction(number), Kind::Int) => Value::Int(az::saturating_cast(*number)),
                _ => self.value(arg, dot)?,
            };
            value.check(kind).map_err(|message| in_function(Failure::Wrong(message), function))?;
            values.push(value);
        }
        Ok(values)
    }

    fn member(&mut self, value: &Value<'v>, name: &'v str) -> Rendered<Value<'v>> {
        match value {
            Value::Labels(labels) => Ok(Value::borrowed(labels.get(name))),
            Value::Map(members) => {
                let member = members.get(name).cloned().unwrap_or(Value::Nil);
                if let Value::Text(text) = &member {
                    self.take(text.len())?;
                }
                Ok(member)
            }
            other => Err(Failure::Wrong(format!("can't evaluate field {name} in type {}", other.type_name()))),
        }
    }
}

fn in_function(failure: Failure, function: &Function) -> Failure {
    match failure {
        Failure::Wrong(message) => Failure::Wrong(format!("error calling {}: {message}", function.name)),
        failure => failure,
    }
}
