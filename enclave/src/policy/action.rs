//! What can be asked of a policy: one Cedar action for each thing that MCP lets an agent or a tool server do.

/// An action, as schemas and policies name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// `tools/call`. The only one that a schema must declare.
    CallTool,
    /// `resources/list` and `resources/templates/list`.
    ListResources,
    /// `resources/read`.
    ReadResource,
    /// `resources/subscribe`, `resources/unsubscribe`, and `subscriptions/listen` for updates of a resource.
    SubscribeResource,
    /// `prompts/list`.
    ListPrompts,
    /// `prompts/get`.
    GetPrompt,
    /// `completion/complete`.
    Complete,
    /// `logging/setLevel`.
    SetLogLevel,
    /// `sampling/createMessage`: a tool server asks the agent's model.
    Sample,
    /// `elicitation/create`: a tool server asks the agent's user.
    Elicit,
    /// `roots/list`: a tool server asks which folders the agent works in.
    ListRoots,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 11] = [
        Self::CallTool,
        Self::ListResources,
        Self::ReadResource,
        Self::SubscribeResource,
        Self::ListPrompts,
        Self::GetPrompt,
        Self::Complete,
        Self::SetLogLevel,
        Self::Sample,
        Self::Elicit,
        Self::ListRoots,
    ];

    /// The name in schemas and policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CallTool => "call_tool",
            Self::ListResources => "list_resources",
            Self::ReadResource => "read_resource",
            Self::SubscribeResource => "subscribe_resource",
            Self::ListPrompts => "list_prompts",
            Self::GetPrompt => "get_prompt",
            Self::Complete => "complete",
            Self::SetLogLevel => "set_log_level",
            Self::Sample => "sample",
            Self::Elicit => "elicit",
            Self::ListRoots => "list_roots",
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}
