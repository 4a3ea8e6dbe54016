# Debian's firmware packages are in a component of their own. Read before debian-minimal makes its sources of this.
export DIB_DEBIAN_COMPONENTS=${DIB_DEBIAN_COMPONENTS:-main,non-free-firmware}
