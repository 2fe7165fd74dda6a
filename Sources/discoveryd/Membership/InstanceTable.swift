import Shared

/// One value for each instance, beside the registry.
struct InstanceTable<Value> {
    private let initial: Value
    private var values: [Value] = []

    init(_ initial: Value) { self.initial = initial }

    /// The instance is new: what was kept for a former one in its place is gone.
    mutating func begin(_ id: Registry.InstanceID) {
        if values.count <= id.position {
            values += Array(repeating: initial, count: id.position + 1 - values.count)
        }
        values[id.position] = initial
    }

    /// The instance must have begun.
    subscript(_ id: Registry.InstanceID) -> Value {
        get { values[id.position] }
        _modify { yield &values[id.position] }
    }
}
