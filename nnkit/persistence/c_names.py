"""Names in C that are taken: by the language, by the headers that a file includes, by the library that it is linked with."""

from __future__ import annotations

import re

__all__ = ["KEYWORDS", "LIBRARY", "MACROS", "taken"]

# What C99 has in math.h for double; the same name with an f is for float. These a file calls.
LIBRARY = frozenset(
    "acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp exp2 expm1 fabs floor fmax fmin fmod "
    "hypot lgamma log log10 log1p log2 nextafter pow rint sin sinh sqrt tan tanh tgamma trunc".split()
)
# The rest of math.h and complex.h: C99's, C23's, and what POSIX and compilers add.
MATH = LIBRARY | frozenset(
    "acospi asinpi atan2pi atanpi cabs cacos cacosh canonicalize carg casin casinh catan catanh ccos ccosh cexp cimag clog "
    "clog10 compoundn conj cospi cpow cproj creal csin csinh csqrt ctan ctanh drem exp10 exp10m1 exp2m1 fadd fdim fdiv ffma "
    "finite fma fmaximum fmaximum_mag fmaximum_mag_num fmaximum_num fmaxmag fminimum fminimum_mag fminimum_mag_num "
    "fminimum_num fminmag fmul frexp fromfp fromfpx fsqrt fsub gamma getpayload ilogb isnan isinf j0 j1 jn ldexp lgamma_r "
    "llogb llrint llround log10p1 log2p1 logb logp1 lrint lround modf nan nearbyint nextdown nexttoward nextup pow10 pown "
    "powr remainder remquo rootn round roundeven rsqrt scalb scalbln scalbn setpayload setpayloadsig significand sincos "
    "sinpi tanpi totalorder totalordermag ufromfp ufromfpx y0 y1 yn".split()
)
SUFFIX = "(f|l|f16|f32|f64|f128|f32x|f64x|d32|d64|d128)?"
# Functions of the other headers: a program has one function of a name, and the library calls its own by these.
FUNCTIONS = frozenset(
    "abort abs aligned_alloc alloca asctime at_quick_exit atexit atof atoi atol atoll bcmp bcopy bsearch btowc bzero call_once "
    "calloc clearerr clock close ctermid ctime difftime div dprintf exit fclose fdopen feof ferror fflush fgetc fgetpos fgets "
    "fgetwc fgetws fileno flockfile fmemopen fopen fork fprintf fputc fputs fputwc fputws fread free free_aligned_sized "
    "free_sized freopen fscanf fseek fseeko fsetpos ftell ftello ftrylockfile funlockfile fwide fwprintf fwrite fwscanf getc "
    "getchar getdelim getenv getline getpid gets getw getwc getwchar gmtime imaxabs imaxdiv index isalnum isalpha isascii "
    "isblank iscntrl isdigit isgraph islower isprint ispunct isspace isupper isxdigit labs ldiv llabs lldiv localeconv "
    "localtime longjmp lseek main malloc mblen mbrlen mbrtowc mbsinit mbsrtowcs mbstowcs mbtowc memalignment memccpy memchr "
    "memcmp memcpy memmem memmove mempcpy memrchr memset memset_explicit mktime open open_memstream open_wmemstream pclose "
    "perror popen printf putc putchar puts putw putwc putwchar qsort quick_exit raise rand rand_r random read realloc remove "
    "rename renameat rewind rindex sbrk scanf select setbuf setbuffer setjmp setlinebuf setlocale setvbuf signal signgam "
    "snprintf sprintf srand srandom sscanf stderr stdin stdout stpcpy strcat strchr strcmp strcoll strcpy strcspn strdup "
    "strerror strftime strlen strncat strncmp strncpy strndup strpbrk strrchr strspn strstr strtod strtof strtoimax strtok "
    "strtol strtold strtoll strtoul strtoull strtoumax strxfrm swprintf swscanf system tempnam time timespec_get tmpfile "
    "tmpnam tmpnam_r tolower toupper ungetc ungetwc vasprintf vdprintf vfprintf vfscanf vfwprintf vfwscanf vprintf vscanf "
    "vsnprintf vsprintf vsscanf vswprintf vswscanf vwprintf vwscanf wait wcrtomb wprintf write wscanf".split()
)
GROUPS = re.compile(  # families: of character classes, complex environments, wide characters, threads, and POSIX's variants
    r"isw(alnum|alpha|blank|cntrl|ctype|digit|graph|lower|print|punct|space|upper|xdigit)|tow(ctrans|lower|upper)|"
    r"fe(get|set|test|clear|raise|hold|update)[a-z]*|(w?mem|wcs|mbs|wcp)[a-z]*(mem|cpy|cat|cmp|chr|len|set|move|str|spn|dup|"
    r"pbrk|tok|coll|xfrm|ftime|to[a-z]+|wcs)|wct(ob|omb|rans|ype)|mbrtoc(8|16|32)|c(8|16|32)rtomb|lgamma[fl]?(f\d+x?)?_r|"
    r"(cnd|mtx|thrd|tss|atomic|pthread)_\w+|\w+_unlocked"
)
KEYWORDS = frozenset(
    "alignas alignof asm auto bool break case char const constexpr continue default do double else enum extern false float for "
    "goto if inline int long nullptr register restrict return short signed sizeof static static_assert struct switch "
    "thread_local true typedef typeof typeof_unqual union unsigned void volatile while".split()
)
TYPES = re.compile(r"\w+_t|FILE|DIR|va_list|complex|imaginary|u?(char|short|int|long)")
# What a header, or a compiler by itself, replaces by something else; real is this package's own.
MACROS = frozenset(
    "BUFSIZ EOF I NAN NULL INFINITY assert errno fpclassify i386 isfinite isgreater isgreaterequal iseqsig isless islessequal "
    "islessgreater isnormal issignaling issubnormal isunordered iszero linux math_errhandling mips noreturn offsetof real "
    "signbit sparc sun unix unreachable va_arg va_copy va_end va_start L_ctermid L_tmpnam P_tmpdir NNKIT_NO_MAIN".split()
)
CONSTANTS = re.compile(r"(U?INT[A-Z0-9_]*|SIZE|PTRDIFF|WCHAR|WINT|SIG_ATOMIC)_(MAX|MIN|C|WIDTH)|"
                       r"(FP|M|SEEK|HUGE|MATH|TMP|FOPEN|FILENAME)_[A-Z0-9_]+")  # fmt: skip


def taken(name: str) -> str:
    """Why C does not leave a name free for a function; "" where it does."""
    if re.fullmatch(r"[A-Za-z_]\w*", name, re.A) is None:
        return "it is not made of letters from A to Z, digits and _, with a letter first"
    if name.startswith("_"):
        return "names that begin with _ are the compiler's and the library's"
    if name in KEYWORDS:
        return "it is a word of the language"
    if TYPES.fullmatch(name):
        return "it is a type of C's headers, or reserved for one"
    if name in MACROS or CONSTANTS.fullmatch(name):
        return "headers or compilers replace it by something else"
    if name in FUNCTIONS or GROUPS.fullmatch(name) or re.fullmatch(f"({'|'.join(MATH)}){SUFFIX}", name):
        return "C's library has a function of this name"
    return ""
