/// How a request ended.
enum Outcome: String {
    case answered
    case clientGone = "client_gone"
    case cut
}
