public enum YAMLReader {
    public static func parse(_ source: [UInt8]) throws(Diagnostic) -> Document { try JSONReader.parse(source) }
}
