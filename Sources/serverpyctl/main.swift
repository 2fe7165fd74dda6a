import Shared
print(Version.current)
