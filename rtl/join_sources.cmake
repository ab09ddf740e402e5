# Writes FOLDER/all.cpp, which includes all C++ files that Verilator made there.
file(GLOB sources ${FOLDER}/V*.cpp)
list(SORT sources)
list(TRANSFORM sources REPLACE "(.+)" "#include \"\\1\"")
list(JOIN sources "\n" text)
file(WRITE ${FOLDER}/all.cpp "${text}\n")
