import CLinux
import Glibc

/// The terminal behind a descriptor; see termios(3) and tty_ioctl(4).
public enum Terminal {
    public static func isTerminal(_ descriptor: Descriptor) -> Bool { isatty(descriptor.rawValue) == 1 }

    /// Columns and rows; nil where there is no terminal, or none that knows.
    public static func size(_ descriptor: Descriptor) -> (columns: Int, rows: Int)? {
        var size = winsize()
        let result = unsafe withUnsafeMutablePointer(to: &size) {
            clinux_ioctl(descriptor.rawValue, UInt(TIOCGWINSZ), UInt(bitPattern: Int(bitPattern: $0)))
        }
        guard result == 0, size.ws_col > 0, size.ws_row > 0 else { return nil }
        return (Int(size.ws_col), Int(size.ws_row))
    }

    /// How many columns a character takes: two where it is wide, none where it combines with the one before; see wcwidth(3).
    public static func cells(_ scalar: Unicode.Scalar) -> Int {
        if scalar.isASCII { return 1 }
        guard knowsUnicode, let character = wchar_t(exactly: scalar.value) else { return 1 }
        let width = wcwidth(character)
        return width < 0 ? 1 : Int(width)
    }

    /// What wcwidth(3) says depends on the locale; this one needs no files.
    private static let knowsUnicode = unsafe setlocale(LC_CTYPE, "C.UTF-8") != nil

    /// Input key by key, without echo; output and signals (Ctrl-C, Ctrl-Z) as before. Throws where there is no terminal.
    public struct KeyMode: ~Copyable {
        private let descriptor: Descriptor
        private let saved: termios

        public init(_ descriptor: Descriptor) throws(Errno) {
            var present = termios()
            _ = try retrying { unsafe tcgetattr(descriptor.rawValue, &present) }
            self.descriptor = descriptor
            saved = present
            enter()
        }

        /// Also after the process was stopped and goes on.
        public func enter() {
            var mode = saved
            mode.c_lflag &= ~tcflag_t(ICANON | ECHO)
            unsafe tcsetattr(descriptor.rawValue, TCSANOW, &mode)
        }

        public func leave() {
            var mode = saved
            unsafe tcsetattr(descriptor.rawValue, TCSANOW, &mode)
        }

        deinit { leave() }
    }
}
